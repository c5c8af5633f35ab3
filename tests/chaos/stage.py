"""A running platform that can be harmed, and those who look at it meanwhile."""

import asyncio
import contextlib
import json
import os
import random
import shutil
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from datalabs_client import Datalabs
from datalabs_testing.edge import free_port
from tests.chaos.clusters import Agent, ClusterHarm, Jobs, environments
from tests.chaos.harm import Harm
from tests.chaos.holds import Holds
from tests.chaos.nats_proxy import NatsProxy
from tests.chaos.nomad_proxy import WAIT_SECONDS, NomadProxy
from tests.chaos.verdict import Follower, Records, Word
from tests.running import TEST_CONTENT, RunningPlatform

SEED = int(os.environ.get("DATALABS_CHAOS_SEED") or random.randrange(10**6))
os.environ["DATALABS_CHAOS_SEED"] = str(SEED)
FULL = os.environ.get("DATALABS_CHAOS_FULL") == "1"

FIRST_PORT, LAST_PORT, PORTS = 20_000, 31_999, 500
"""Labs on a cluster's nodes share this machine's ports with those of other platforms that run here just now."""


@dataclass
class Stage:
    """A platform and its person, where its lives are held, what harms it, and what is compared afterwards."""

    platform: RunningPlatform
    holds: Holds
    harm: Harm
    page: Follower
    records: Word
    person: Datalabs
    username: str


@contextlib.asynccontextmanager
async def local_stage() -> AsyncIterator[Stage]:
    """Run a platform with labs on this machine: it lives through everything."""
    folder = Path(tempfile.mkdtemp(prefix="dl-", dir="/tmp"))
    try:
        async with _stage(folder, "ada", Records(folder / "s" / "labs"), None, {}) as stage:
            yield stage
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.asynccontextmanager
async def cluster_stage(agent: Agent) -> AsyncIterator[Stage]:
    """Run a platform with its labs on a cluster whose agent can be harmed, as can the line to it.

    They are processes on its nodes, which only operators may launch.
    """
    folder = Path(tempfile.mkdtemp(prefix="dl-", dir="/tmp"))
    try:
        await agent.start()
        line = NomadProxy(free_port(), upstream=agent.address)
        await line.start()
        first = random.randrange(FIRST_PORT, LAST_PORT - PORTS)
        settings = {
            "DATALABS_LAUNCHER_FIRST_PORT": str(first),
            "DATALABS_LAUNCHER_LAST_PORT": str(first + PORTS),
            "NOMAD_ADDR": line.address,
            "DATALABS_LAUNCHER_SCHEDULER": "nomad",
            "DATALABS_LAUNCHER_NOMAD_WAIT": str(WAIT_SECONDS),
            "DATALABS_LAUNCHER_NOMAD_ALLOW_RAW_EXEC": "true",
            "DATALABS_LAUNCHER_NOMAD_ENVIRONMENTS": str(environments(folder)),
        }
        try:
            harm = ClusterHarm(agent, line)
            async with _stage(folder, "admin", Jobs(agent.address), harm, settings) as stage:
                yield stage
        finally:
            await line.aclose()
    finally:
        await agent.aclose()
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.asynccontextmanager
async def _stage(
    folder: Path, username: str, records: Word, cluster: ClusterHarm | None, settings: dict[str, str]
) -> AsyncIterator[Stage]:
    port, nats_port, points = free_port(), free_port(), folder / "points"
    platform = RunningPlatform(
        state=folder / "s",
        port=free_port(),
        settings={
            "DATALABS_PLATFORM_CONTENT": json.dumps([str(TEST_CONTENT)]),
            "DATALABS_NATS_SERVERS": json.dumps([f"nats://127.0.0.1:{port}"]),
            "DATALABS_STANDALONE_NATS_PORT": str(nats_port),
            "DATALABS_LAUNCHER_CRASH_POINTS": str(points),
            **settings,
        },
    )
    proxy = NatsProxy(port, upstream=nats_port)
    await proxy.start()
    holds = Holds(points, passed=records.passed)
    await holds.start()
    try:
        await asyncio.to_thread(platform.up)
        page = Follower(platform, username)
        await page.start()
        async with platform.client(username) as person:
            harm = Harm(platform, proxy, cluster)
            yield Stage(platform, holds, harm, page, records, person, username)
        await page.aclose()
    finally:
        await asyncio.to_thread(platform.down)
        await holds.aclose()
        await proxy.aclose()
