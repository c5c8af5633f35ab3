"""Prometheus itself, with the file that Compose gives it, reads every service of a running platform."""

import asyncio
import contextlib
import json
import shutil
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from datalabs_client import Datalabs
from datalabs_contracts.rpc import SERVICES
from datalabs_testing.edge import free_port
from datalabs_testing.waiting import eventually
from tests.running import REPOSITORY, RunningPlatform

COMPOSE = REPOSITORY / "compose"
pytestmark = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="Prometheus is not installed (Debian's package `prometheus`)."
)
SILENT_AT_FIRST = ("increase(", "rate(")
"""What counts changes has nothing to say before something changed."""


@contextlib.asynccontextmanager
async def at_ports(state: Path) -> AsyncIterator[dict[str, int]]:
    """Give each service's metrics a port of the loopback, as containers have them; here they are Unix sockets."""
    servers: list[asyncio.Server] = []
    ports: dict[str, int] = {}

    for service in SERVICES:
        [socket] = (state / "run").glob(f"{service}.health*")

        async def pass_on(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter, socket: Path = socket
        ) -> None:
            other, to = await asyncio.open_unix_connection(str(socket))
            with contextlib.closing(to), contextlib.closing(writer):
                to.write(await reader.readuntil(b"\r\n\r\n"))
                writer.write(await other.read())
                await writer.drain()

        servers.append(await asyncio.start_server(pass_on, "127.0.0.1", 0))
        ports[service] = servers[-1].sockets[0].getsockname()[1]
    try:
        yield ports
    finally:
        for server in servers:
            server.close()


def configuration(ports: dict[str, int]) -> str:
    """Return Compose's file with this machine's addresses in the place of the containers' names."""
    document: dict[str, Any] = yaml.safe_load((COMPOSE / "prometheus.yml").read_text())
    document["global"]["scrape_interval"] = "1s"
    [job] = document["scrape_configs"]
    [names] = (found.pop("names") for found in job.pop("dns_sd_configs"))
    assert {name.partition("-")[0] for name in names} == ports.keys(), "every service is read"
    job["static_configs"] = [
        {"targets": [f"127.0.0.1:{port}"], "labels": {"__meta_dns_name": service}}
        for service, port in ports.items()
    ]
    return yaml.safe_dump(document)


@contextlib.asynccontextmanager
async def prometheus(folder: Path, ports: dict[str, int]) -> AsyncIterator[str]:
    """Run it and give its address."""
    file = folder / "prometheus.yml"
    file.write_text(configuration(ports))
    address = f"127.0.0.1:{free_port()}"
    process = await asyncio.create_subprocess_exec(
        "prometheus",
        f"--config.file={file}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
        "--log.level=warn",
    )
    try:
        yield f"http://{address}"
    finally:
        process.terminate()
        await process.wait()


async def ask(address: str, path: str, **values: str) -> dict[str, Any]:
    """Return the data of an answer; nothing while it does not answer yet."""
    url = f"{address}/api/v1/{path}?{urllib.parse.urlencode(values)}"

    def read() -> dict[str, Any]:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                document: dict[str, Any] = json.load(answer)
        except ConnectionError:
            return {}
        except urllib.error.HTTPError as refused:
            raise AssertionError(refused.read().decode()) from refused
        except urllib.error.URLError:
            return {}
        assert document["status"] == "success", document
        data: dict[str, Any] = document["data"]
        return data

    return await asyncio.to_thread(read)


async def test_prometheus_reads_all_services_and_answers_every_panel(
    platform: RunningPlatform, ada: Datalabs, tmp_path: Path
) -> None:
    lab = await ada.launch("stub")
    await lab.ready(timeout=60)
    async with at_ports(platform.state) as ports, prometheus(tmp_path, ports) as address:

        async def seen() -> bool:
            targets = (await ask(address, "targets")).get("activeTargets", [])
            return {one["labels"]["service"] for one in targets if one["health"] == "up"} == ports.keys()

        await eventually(seen, seconds=60, pause=0.5)
        for file in sorted((COMPOSE / "grafana" / "dashboards").glob("*.json")):
            for panel in json.loads(file.read_text())["panels"]:
                for target in panel["targets"]:
                    found = await ask(address, "query", query=target["expr"])
                    if not any(word in target["expr"] for word in SILENT_AT_FIRST):
                        assert found["result"], f"{panel['title']}: {target['expr']} finds nothing"
