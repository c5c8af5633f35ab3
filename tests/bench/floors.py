"""What a user-space proxy costs at the least: Envoy as a bare TCP proxy and as an HTTP proxy without any filter."""

import contextlib
import http.client
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from datalabs_standalone.preparation import envoy_binary
from datalabs_testing.edge import free_port

_TYPE = "type.googleapis.com/envoy.extensions.filters."
_START_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class Floors:
    """Ports of 127.0.0.1 behind which the same upstream answers, and the process that listens there."""

    tcp: int
    http: int
    pid: int = 0


def _listener(port: int, name: str, typed: dict[str, object]) -> dict[str, object]:
    return {
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [{"name": name, "typed_config": {"stat_prefix": name, **typed}}]}],
    }


def _configuration(address: str, port: int, floors: Floors) -> dict[str, object]:
    route = {"match": {"prefix": "/"}, "route": {"cluster": "upstream", "timeout": "0s"}}
    manager: dict[str, object] = {
        "@type": _TYPE + "network.http_connection_manager.v3.HttpConnectionManager",
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [{"name": "router", "typed_config": {"@type": _TYPE + "http.router.v3.Router"}}],
    }
    proxy: dict[str, object] = {"@type": _TYPE + "network.tcp_proxy.v3.TcpProxy", "cluster": "upstream"}
    endpoint = {"endpoint": {"address": {"socket_address": {"address": address, "port_value": port}}}}
    assignment = {"cluster_name": "upstream", "endpoints": [{"lb_endpoints": [endpoint]}]}
    return {
        "static_resources": {
            "listeners": [_listener(floors.tcp, "tcp", proxy), _listener(floors.http, "http", manager)],
            "clusters": [{"name": "upstream", "type": "STATIC", "load_assignment": assignment}],
        }
    }


@contextlib.contextmanager
def bare_proxies(address: str, port: int, *, workers: int = 1) -> Iterator[Floors]:
    """Run both before an upstream until the block ends, with as many workers as the edge has."""
    floors = Floors(tcp=free_port(), http=free_port())
    with tempfile.TemporaryDirectory(prefix="floor-", dir="/tmp") as folder:
        file = Path(folder) / "envoy.json"
        file.write_text(json.dumps(_configuration(address, port, floors)))
        command = [str(envoy_binary()), "-c", str(file), "--concurrency", str(workers)]
        envoy = subprocess.Popen(
            [*command, "--disable-hot-restart", "-l", "error"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            _until_answering(floors.http)
            yield replace(floors, pid=envoy.pid)
        finally:
            envoy.terminate()
            envoy.wait()


def _until_answering(port: int) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        try:
            connection.request("GET", "/")
            connection.getresponse().read()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return
        finally:
            connection.close()
