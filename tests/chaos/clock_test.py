"""The clock is set an hour ahead and an hour back while labs live: nothing ends that should not, and no second is lost.

Debian's libfaketime moves the clock of the platform's own processes; the machine's clock, NATS's, PostgreSQL's and the
edge's are left alone. Time that passes (the monotonic clock) is not touched, as by a real correction.
"""

import asyncio
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

from datalabs_client import Datalabs
from datalabs_client.client import LaunchedLab
from datalabs_contracts.labs import Lab, LabState, Reason
from datalabs_runtime.settings import PostgresSettings, load
from tests.chaos import verdict
from tests.chaos.matrix import SERVICES
from tests.running import TEST_CONTENT, RunningPlatform, running

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]

HOUR = 3600
STEPS = (HOUR, 0, -HOUR, 0)
"""What the clock is ahead of the machine's, one after another."""
CALM_SECONDS = 12.0
"""Longer than any look at labs that run, the fallbacks' too."""
IDLE_MINUTES = 60
"""With a clock that jumps as far, a lab that was used a moment ago seems to have been left alone for so long."""
SLACK_SECONDS = 2.0
SLEEP = """\
import select, time
time.sleep = lambda seconds: select.select([], [], [], seconds)
"""
"""What our processes run first: libfaketime 0.9.10 refuses a sleep until a moment of a clock that it leaves alone."""
META = """
  idle:
    minutes: {minutes}
"""


def library() -> Path:
    """Return the library that moves clocks; skips where there is none."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    if not found:
        pytest.skip(
            "CLOCKS ARE NOT STEPPED: Debian's libfaketime is not installed (apt-get install faketime)"
        )
    return found[0]


@dataclass
class Stepped:
    """A platform whose clock can be set, and how it was."""

    platform: RunningPlatform
    file: Path
    ahead: int = 0
    labs: dict[str, float] = field(default_factory=dict)

    def set(self, seconds: int) -> None:
        """Set the clock to so many seconds ahead of the machine's."""
        draft = self.file.with_suffix(".new")
        draft.write_text(f"{seconds:+d}\n")
        draft.rename(self.file)
        self.ahead = seconds


@pytest.fixture
def stepped(tmp_path: Path) -> Iterator[Stepped]:
    preload, file = library(), tmp_path / "ahead"
    file.write_text("+0\n")
    folder = tmp_path / "content" / "datalabs" / "stub"
    shutil.copytree(TEST_CONTENT / "datalabs" / "stub", folder)
    about = folder / "datalab-meta.yml"
    wanted = about.read_text().replace("  collections: [numbers]\n", "")
    about.write_text(wanted.rstrip() + META.format(minutes=IDLE_MINUTES))
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(SLEEP)
    settings = {
        "PYTHONPATH": f"{site}:{os.environ.get('PYTHONPATH', '')}".rstrip(":"),
        "LD_PRELOAD": str(preload),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
        "DATALABS_LAUNCHER_IDLE_CHECK": "5",
    }
    with running(content=[tmp_path / "content"], settings=settings) as platform:
        yield Stepped(platform, file)


async def epochs(platform: RunningPlatform) -> dict[str, int]:
    """Return how often each lease has changed hands."""
    settings = load(PostgresSettings, platform.state / "datalabs.toml")
    found: dict[str, int] = {}
    for service in SERVICES:
        address = settings.url(service).set(drivername="postgresql").render_as_string(hide_password=False)
        async with await psycopg.AsyncConnection.connect(address, autocommit=True) as connection:
            has = await (await connection.execute("SELECT to_regclass('leases') IS NOT NULL")).fetchone()
            if has != (True,):
                continue
            for name, epoch in await (await connection.execute("SELECT name, epoch FROM leases")).fetchall():
                found[f"{service}: {name}"] = epoch
    assert found
    return found


async def launched(datalabs: Datalabs, begun: dict[str, float]) -> LaunchedLab:
    lab: LaunchedLab = await verdict.until(
        "a launch is taken", lambda: datalabs.launch("stub"), seconds=verdict.QUIET_SECONDS
    )
    found = await verdict.settled(lab)
    assert found.state is LabState.READY, (found.reason, found.message, found.last_lines)
    begun[lab.id] = time.monotonic()
    return lab


async def stays(labs: list[LaunchedLab], seconds: float) -> None:
    """Look for so long whether all labs are ready, whoever asks."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for lab in labs:
            now = await lab.refresh()
            assert now.state is LabState.READY, now
        await asyncio.sleep(0.5)


async def stopped(lab: LaunchedLab, ada: Datalabs, begun: float) -> Lab:
    """Stop a lab; the ledger and its own record have the seconds that really passed."""
    took = time.monotonic() - begun
    await lab.stop()
    final = await verdict.ended(lab)
    assert final.reason is Reason.STOPPED_BY_USER
    assert final.started_at is not None
    assert final.ended_at is not None
    assert abs((final.ended_at - final.started_at).total_seconds() - took) < SLACK_SECONDS, (final, took)

    async def look() -> bool:
        rows = [row async for row in ada.items("/usage", by="lab") if row["lab"] == lab.id]
        return len(rows) == 1 and abs(rows[0]["seconds"] - took) < SLACK_SECONDS

    await verdict.until(f"the ledger has {took:.1f} s of {lab.id}", look, seconds=verdict.QUIET_SECONDS)
    return final


async def test_the_clock_is_set_ahead_and_back_under_live_labs(stepped: Stepped) -> None:
    platform, begun = stepped.platform, stepped.labs
    async with platform.client("ada") as ada:
        page = verdict.Follower(platform, "ada")
        await page.start()
        first = await launched(ada, begun)
        old = await launched(ada, begun)
        leases = await epochs(platform)
        async with ada.visit(await first.open()) as browser:
            for ahead in STEPS:
                stepped.set(ahead)
                await stays([first, old], CALM_SECONDS)
                assert (await browser.get("/")).text == "ok"
                async with ada.visit(await first.open()) as another:
                    assert (await another.get("/")).text == "ok"
                new = await launched(ada, begun)
                await verdict.shown(page, await stopped(old, ada, begun[old.id]))
                print(f"{ahead:+d} s: all as it was, {new.id} launched, {old.id} ended")
                old = new
        await stopped(first, ada, begun[first.id])
        await stopped(old, ada, begun[old.id])
        await page.aclose()
    assert await epochs(platform) == leases
