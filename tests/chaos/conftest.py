import asyncio
import json
import os
import random
import shutil
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest_asyncio

from datalabs_client import Datalabs
from datalabs_testing.edge import free_port
from tests.chaos.harm import Harm
from tests.chaos.holds import Holds
from tests.chaos.nats_proxy import NatsProxy
from tests.chaos.verdict import Follower, Records
from tests.running import TEST_CONTENT, RunningPlatform

SEED = int(os.environ.get("DATALABS_CHAOS_SEED") or random.randrange(10**6))
os.environ["DATALABS_CHAOS_SEED"] = str(SEED)


def pytest_report_header() -> str:
    return f"chaos: DATALABS_CHAOS_SEED={SEED} repeats this selection"


@dataclass
class Stage:
    """A running platform that can be harmed, and those who look at it meanwhile."""

    platform: RunningPlatform
    holds: Holds
    proxy: NatsProxy
    harm: Harm
    page: Follower
    records: Records
    ada: Datalabs


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stage() -> AsyncIterator[Stage]:
    """One platform for the whole matrix: it lives through everything."""
    folder = Path(tempfile.mkdtemp(prefix="dl-", dir="/tmp"))
    port, nats_port, points = free_port(), free_port(), folder / "points"
    platform = RunningPlatform(
        state=folder / "s",
        port=free_port(),
        settings={
            "DATALABS_PLATFORM_CONTENT": json.dumps([str(TEST_CONTENT)]),
            "DATALABS_NATS_SERVERS": json.dumps([f"nats://127.0.0.1:{port}"]),
            "DATALABS_STANDALONE_NATS_PORT": str(nats_port),
            "DATALABS_LAUNCHER_CRASH_POINTS": str(points),
        },
    )

    proxy = NatsProxy(port, upstream=nats_port)
    await proxy.start()
    records = Records(platform.state / "labs")
    holds = Holds(points, passed=records.passed)
    await holds.start()
    try:
        await asyncio.to_thread(platform.up)
        page = Follower(platform, "ada")
        await page.start()
        async with platform.client("ada") as ada:
            yield Stage(platform, holds, proxy, Harm(platform, proxy), page, records, ada)
        await page.aclose()
    finally:
        await asyncio.to_thread(platform.down)
        await holds.aclose()
        await proxy.aclose()
        shutil.rmtree(folder, ignore_errors=True)
