"""Two thousand WebSockets that idle and hundreds of tabs that are half there: ten minutes, and nobody's memory grows.

DATALABS_CHAOS_MINUTES sets how long. Flat means: the median of a part's memory over the last fifth of the time is not
more than `MAY_GROW` and not more than `MAY_GROW_MIB` above its median over the second fifth.
"""

import asyncio
import contextlib
import json
import os
import statistics
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from aiohttp import ClientSession, UnixConnector

from datalabs_client.client import LaunchedLab
from datalabs_standalone.processes import memory_kib
from tests.chaos.connections import Connection, tab, web_socket
from tests.running import REPOSITORY, TEST_CONTENT, RunningPlatform, running

MINUTES = float(os.environ.get("DATALABS_CHAOS_MINUTES") or 10)
pytestmark = [pytest.mark.chaos, pytest.mark.long, pytest.mark.timeout(MINUTES * 60 + 400)]

WEB_SOCKETS, VANISHED_WEB_SOCKETS = 2000, 100
STALLED_TABS, VANISHED_TABS = 150, 150
AT_ONCE = 25
LOOK_SECONDS = 5.0
PARTS = ("envoy", "gateway", "launcher", "auth", "observer", "nats")
KEEP_ALIVE_SECONDS = 60 + 4 * 15 + 15
"""After so long the edge has given up a peer from which nothing is acknowledged, and a bit."""
MAY_GROW, MAY_GROW_MIB = 0.05, 3.0
"""The gateway keeps what happened in the last ten minutes for tabs that come back: that may come on top."""


@dataclass
class Memory:
    """What the parts took, in MiB, over time."""

    seconds: list[float] = field(default_factory=list)
    parts: dict[str, list[float]] = field(default_factory=lambda: {part: [] for part in PARTS})
    active: list[int] = field(default_factory=list)
    """Connections that the edge has."""

    def median(self, part: str, first: float, last: float) -> float:
        """Return the median between two shares of the time."""
        begun, ended = self.seconds[0], self.seconds[-1]
        low, high = (begun + (ended - begun) * share for share in (first, last))
        return statistics.median(
            mib for at, mib in zip(self.seconds, self.parts[part], strict=True) if low <= at <= high
        )

    def grown(self, part: str) -> tuple[float, float]:
        """Return what a part took early and at the end."""
        return self.median(part, 0.2, 0.4), self.median(part, 0.8, 1.0)

    def table(self) -> str:
        """Return the figures for a person."""
        lines = [f"{'MiB (PSS)':12}{'first':>9}{'early':>9}{'late':>9}{'most':>9}"]
        for part, found in self.parts.items():
            early, late = self.grown(part)
            lines.append(f"{part:12}{found[0]:9.1f}{early:9.1f}{late:9.1f}{max(found):9.1f}")
        return "\n".join(lines)


async def active_at(platform: RunningPlatform) -> int:
    """Return how many connections the edge has, by its own count."""
    connector = UnixConnector(str(platform.state / "run" / "envoy-admin.sock"))
    async with ClientSession(connector=connector) as admin, admin.get("http://envoy/stats") as answer:
        for line in (await answer.text()).splitlines():
            name, _, value = line.partition(": ")
            if name == "http.edge.downstream_cx_active":
                return int(value)
    raise AssertionError("the edge does not count its connections")


def cookies(jar: object) -> str:
    return "; ".join(f"{one.name}={one.value}" for one in jar)  # type: ignore[attr-defined]


async def opened(many: int, one: object) -> list[Connection]:
    """Open so many connections, a few at a time; each was answered well."""
    found: list[Connection] = []
    while len(found) < many:
        found += await asyncio.gather(*(one() for _ in range(min(AT_ONCE, many - len(found)))))  # type: ignore[operator]
    assert {connection.status for connection in found} <= {101, 200}
    return found


@contextlib.asynccontextmanager
async def something_happens(lab: LaunchedLab) -> AsyncIterator[None]:
    """Let the tabs have something to be told of meanwhile."""

    async def _extend() -> None:
        while True:
            await asyncio.sleep(10)
            await lab.extend()

    task = asyncio.create_task(_extend())
    try:
        yield
    finally:
        assert not task.done(), task.exception()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def measured(platform: RunningPlatform) -> Memory:
    """Look at all parts until the time is over."""
    memory, began = Memory(), time.monotonic()
    pids = {part: platform.running_pid_of(part) for part in PARTS}
    while (passed := time.monotonic() - began) < MINUTES * 60:
        memory.seconds.append(passed)
        memory.active.append(await active_at(platform))
        for part, pid in pids.items():
            assert pid is not None
            memory.parts[part].append(memory_kib([pid]) / 1024)
        await asyncio.sleep(LOOK_SECONDS)
    assert pids == {part: platform.running_pid_of(part) for part in PARTS}, "a part was started anew"
    return memory


async def test_memory_stays_flat_under_idle_and_half_open_connections() -> None:
    with running(content=[TEST_CONTENT]) as platform:
        async with platform.client("ada") as ada:
            lab = await ada.launch("echo")
            await lab.ready(timeout=240)
            async with ada.visit(await lab.open()) as browser:
                host, cookie = f"{lab.id}.localhost:{platform.port}", cookies(browser.cookies.jar)
            page = cookies(ada.http.cookies.jar)
            before = await active_at(platform)
            idle = await opened(WEB_SOCKETS, lambda: web_socket(platform.port, host, cookie))
            gone = await opened(VANISHED_WEB_SOCKETS, lambda: web_socket(platform.port, host, cookie))
            half = await opened(STALLED_TABS + VANISHED_TABS, lambda: tab(platform.port, page))
            try:
                for connection in half[:STALLED_TABS]:
                    connection.stall()
                for connection in [*half[STALLED_TABS:], *gone]:
                    connection.vanish()
                assert await active_at(platform) - before >= len(idle) + len(gone) + len(half)
                async with something_happens(lab):
                    memory = await measured(platform)
                _show(memory)
                answers = await asyncio.gather(*(one.echoes(b"still here?") for one in idle))
            finally:
                for connection in [*idle, *gone, *half]:
                    connection.close()
        assert answers.count(True) == WEB_SOCKETS
        if memory.seconds[-1] > KEEP_ALIVE_SECONDS:
            late = [n for at, n in zip(memory.seconds, memory.active, strict=True) if at > KEEP_ALIVE_SECONDS]
            assert max(late) <= memory.active[0] - VANISHED_WEB_SOCKETS, "vanished WebSockets are kept"
        for part in PARTS:
            early, end = memory.grown(part)
            assert end - early <= max(MAY_GROW * early, MAY_GROW_MIB), (part, early, end)


def _show(memory: Memory) -> None:
    print(f"connections at the edge: {memory.active[0]} at first, {memory.active[-1]} at the end")
    print(memory.table())
    folder = REPOSITORY / "build"
    folder.mkdir(exist_ok=True)
    figures = {"seconds": memory.seconds, "active": memory.active, **memory.parts}
    (folder / "chaos-idle-tabs.json").write_text(json.dumps(figures))
