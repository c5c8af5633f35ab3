"""How the platform's parts are: asked on their health sockets, and as the supervisor last wrote it down."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp

from datalabs_contracts.observations import PartHealth, PlatformHealth
from datalabs_contracts.rpc import SERVICES
from datalabs_runtime.clock import Clock

PROBE_SECONDS = 2.0
OK = 200
HEALTH_SUFFIX = ".health.sock"
STATUS_FILE = "status.json"
EDGE_ADMIN = "envoy-admin.sock"

Check = Callable[[], Awaitable[str | None]]
"""Returns nothing when all is well, else what is wrong."""


class Parts:
    """Asks all parts at once and remembers when each was last seen well."""

    def __init__(self, *, run_folder: Path, clock: Clock, own: dict[str, Check]) -> None:
        self._folder = run_folder
        self._clock = clock
        self._own = own
        self._seen: dict[str, datetime] = {}

    async def health(self) -> PlatformHealth:
        """Return the parts by name; what the supervisor says holds for parts that cannot be asked."""
        told = await asyncio.to_thread(self._told)
        sockets = await asyncio.to_thread(self._sockets)
        names = {*SERVICES, *sockets}
        asked = await asyncio.gather(
            *(self._service(name, self._folder / f"{name}{HEALTH_SUFFIX}") for name in names),
            *(self._checked(name, check) for name, check in self._own.items()),
            self._edge(),
        )
        parts = told | {part.name: part for part in asked if part is not None}
        return PlatformHealth(items=[parts[name] for name in sorted(parts)])

    def _sockets(self) -> set[str]:
        return {path.name.removesuffix(HEALTH_SUFFIX) for path in self._folder.glob(f"*{HEALTH_SUFFIX}")}

    def _told(self) -> dict[str, PartHealth]:
        """Read the supervisor's status file, if it writes one: `{"parts": [{"name", "state", "text", "since"}]}`."""
        try:
            document = json.loads((self._folder / STATUS_FILE).read_text())
            entries = document["parts"] if isinstance(document, dict) else document
            parts = [_told(entry) for entry in entries]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}
        return {part.name: part for part in parts}

    async def _service(self, name: str, socket: Path) -> PartHealth:
        try:
            status, document = await _get(socket, "/health/ready")
        except (OSError, aiohttp.ClientError, TimeoutError, ValueError):
            return self._part(name, "away", "It does not answer.")
        checks = document.get("checks", {})
        wrong = [f"{check}: {text}" for check, text in checks.items() if text != "ok"]
        if status == OK:
            return self._part(name, "ready")
        return self._part(name, "unready", "; ".join(wrong) or f"It answers {status}.")

    async def _checked(self, name: str, check: Check) -> PartHealth:
        wrong = await check()
        return self._part(name, "unready", wrong) if wrong else self._part(name, "ready")

    async def _edge(self) -> PartHealth | None:
        """Ask Envoy's admin interface, on machines where its socket is."""
        socket = self._folder / EDGE_ADMIN
        if not await asyncio.to_thread(socket.exists):
            return None
        try:
            status, _ = await _get(socket, "/ready")
        except (OSError, aiohttp.ClientError, TimeoutError, ValueError):
            return self._part("envoy", "away", "It does not answer.")
        if status == OK:
            return self._part("envoy", "ready")
        return self._part("envoy", "unready", f"It answers {status}.")

    def _part(self, name: str, state: str, text: str = "") -> PartHealth:
        if state == "ready":
            self._seen[name] = self._clock.now()
        return PartHealth(name=name, state=state, text=text, seen_at=self._seen.get(name))


def _told(entry: dict[str, Any]) -> PartHealth:
    since = entry.get("since")
    return PartHealth(
        name=str(entry["name"]),
        state=str(entry.get("state", "unknown")),
        text=str(entry.get("text", "")),
        seen_at=datetime.fromisoformat(since).astimezone(UTC) if since else None,
    )


async def _get(socket: Path, path: str) -> tuple[int, dict[str, Any]]:
    timeout = aiohttp.ClientTimeout(total=PROBE_SECONDS)
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=str(socket)), timeout=timeout) as client,
        client.get(f"http://localhost{path}") as answer,
    ):
        text = await answer.text()
        document = json.loads(text) if answer.content_type == "application/json" else {}
    return answer.status, document if isinstance(document, dict) else {}
