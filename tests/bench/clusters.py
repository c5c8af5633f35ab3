"""Platforms on clusters for the benches: an emulated Nomad, a real agent, and a count of what labs became."""

import asyncio
import contextlib
import json
import resource
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import nats
from nats.aio.msg import Msg

from datalabs_client import Datalabs
from tests.bench.launch import NO_LIMITS, environments_ready
from tests.running import REPOSITORY, RunningPlatform, running

BENCH_CONTENT = REPOSITORY / "tests" / "bench"
CONTAINED, COMPUTED = "contained", "computed"
PATIENCE = 240.0


@contextlib.contextmanager
def emulated_nomad(*, nodes: int, cores: int, memory_mib: int) -> Iterator[str]:
    """Run an emulated cluster that takes no time of its own and listens on all labs' ports; yields its address."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    process = subprocess.Popen(
        [
            sys.executable, "-m", "datalabs_testing.nomad", "--instant", "--listen", "--nodes", str(nodes),
            "--cores", str(cores), "--memory", str(memory_mib), "--event-buffer", "100000",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


@contextlib.contextmanager
def on_nomad(address: str, **more: str) -> Iterator[RunningPlatform]:
    """Run a platform whose labs all go to this Nomad."""
    settings = {
        **NO_LIMITS,
        "DATALABS_LAUNCHER_SCHEDULER": "nomad",
        "DATALABS_LAUNCHER_NOMAD_ADDRESS": address,
        "DATALABS_LAUNCHER_MAX_QUEUED": "20000",
        **more,
    }
    with running(content=[BENCH_CONTENT], settings=settings) as platform:
        asyncio.run(_environment(platform))
        yield platform


async def _environment(platform: RunningPlatform) -> None:
    async with platform.client("admin") as datalabs:
        await environments_ready(datalabs, {CONTAINED, COMPUTED})


@dataclass
class Facts:
    """What labs became, by fact: the moments at which this process heard of it."""

    of: dict[str, dict[str, float]] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def take(self, message: Msg) -> None:
        _, _, lab, fact = message.subject.split(".")
        self.of.setdefault(fact, {}).setdefault(lab, time.time())
        self.changed.set()

    async def until(self, fact: str, count: int, *, seconds: float = PATIENCE) -> list[float]:
        """Return the moments of a fact when so many labs have met it, or those there are when time is up."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while len(self.of.get(fact, {})) < count:
                    self.changed.clear()
                    await self.changed.wait()
        return sorted(self.of.get(fact, {}).values())


@contextlib.asynccontextmanager
async def facts_of(platform: RunningPlatform) -> AsyncIterator[Facts]:
    """Hear of all labs as an outsider does, for next to no processor time."""
    account = json.loads((platform.state / "credentials.json").read_text())["subscriber"]
    connection = await nats.connect(
        account["url"], user=account["user"], password=account["password"], inbox_prefix=b"_INBOX_subscriber"
    )
    facts = Facts()
    await connection.subscribe("events.lab.*.*", cb=facts.take)
    await connection.flush()
    try:
        yield facts
    finally:
        await connection.close()


async def launch_many(datalabs: Datalabs, count: int, *, at_once: int, slug: str = CONTAINED) -> list[float]:
    """Launch so many stubs, so many requests at once, and return how long each answer took."""
    slots, took = asyncio.Semaphore(at_once), list[float]()

    async def one() -> None:
        async with slots:
            began = time.perf_counter()
            await datalabs.launch(slug)
            took.append(time.perf_counter() - began)

    await asyncio.gather(*(one() for _ in range(count)))
    return took


def log_of(platform: RunningPlatform, part: str) -> Path:
    """Return the log of one part."""
    return platform.state / "logs" / f"{part}.log"
