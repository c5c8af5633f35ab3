"""Several launchers as processes on one database and one emulated cluster: whoever leads is killed, twenty times.

The supervisor's own launcher is one of them; it comes back ever later when it dies often, so two more are started here.
"""

import asyncio
import contextlib
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
import pytest
from psycopg.rows import dict_row

from datalabs_client import Datalabs
from datalabs_runtime.settings import PostgresSettings, load
from tests.bench.clusters import CONTAINED, Facts, emulated_nomad, facts_of, on_nomad
from tests.chaos.verdict import until
from tests.running import RunningPlatform

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]

KILLS = 20
MOVES_WITHIN = 5.0
HANDS = 3
"""Hands that launch a lab, wait for it, and launch the next: so many are on their way whatever dies."""
PATIENCE = 20.0
"""Seconds after which a hand goes on though its lab is not ready."""
LOOK = 0.02
STARTS_WITHIN = 30.0


@dataclass
class Launchers:
    """Launchers beside the supervised one, each a process with sockets of its own."""

    platform: RunningPlatform
    folder: Path
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str) -> None:
        """Start one, or the one of that name again."""
        sockets = self.folder / name
        sockets.mkdir(mode=0o700, exist_ok=True)
        state = self.platform.state
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", "datalabs_launcher"],
                stdout=log,
                stderr=log,
                env={
                    **os.environ,
                    **self.platform.settings,
                    "DATALABS_CONFIG": str(state / "datalabs.toml"),
                    "DATALABS_STATE": str(state),
                    "DATALABS_LAUNCHER_INSTANCE": name,
                    "DATALABS_PLATFORM_SOCKETS": str(sockets),
                },
            )

    async def up(self, name: str) -> None:
        """Wait until one is up; a busy one may well say that it is not ready for more."""
        connector = aiohttp.UnixConnector(path=str(self.folder / name / "launcher.health.sock"))
        async with asyncio.timeout(STARTS_WITHIN), aiohttp.ClientSession(connector=connector) as session:
            while True:
                with contextlib.suppress(aiohttp.ClientError, OSError):
                    async with session.get("http://launcher/health/live") as answer:
                        if answer.ok:
                            return
                await asyncio.sleep(LOOK)

    async def kill(self, pid: int) -> None:
        """Kill a launcher; one of ours is started again, the supervised one by its supervisor."""
        os.kill(pid, signal.SIGKILL)
        for name, process in list(self.processes.items()):
            if process.pid == pid:
                await asyncio.to_thread(process.wait)
                self.start(name)

    def end(self) -> None:
        """End all of ours."""
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            process.wait(20)


@dataclass
class Work:
    """What was asked of the platform: labs launched, those among them that were stopped again."""

    launched: set[str] = field(default_factory=set)
    stopped: set[str] = field(default_factory=set)

    async def go_on(self, datalabs: Datalabs, facts: Facts, ended: asyncio.Event) -> None:
        """Launch, wait until the lab is ready, stop every third one, until told to end."""
        turn = 0
        while not ended.is_set():
            turn += 1
            lab = await datalabs.launch(CONTAINED)
            self.launched.add(lab.id)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    while lab.id not in facts.of.get("ready", {}):  # noqa: ASYNC110 - several wait for the one event
                        await asyncio.sleep(LOOK)
            if turn % 3 == 0 and lab.id in facts.of.get("ready", {}):
                await lab.stop()
                self.stopped.add(lab.id)


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    with emulated_nomad(nodes=4, cores=1000, memory_mib=1_000_000) as address:
        yield address


@pytest.fixture(scope="module")
def platform(cluster: str) -> Iterator[RunningPlatform]:
    with on_nomad(cluster) as platform:
        yield platform


@pytest.fixture
async def launchers(platform: RunningPlatform, tmp_path: Path) -> AsyncIterator[Launchers]:
    found = Launchers(platform, tmp_path)
    for name in ("second", "third"):
        found.start(name)
    try:
        for name in found.processes:
            await found.up(name)
        yield found
    finally:
        await asyncio.to_thread(found.end)


@pytest.fixture
async def database(platform: RunningPlatform) -> AsyncIterator[psycopg.AsyncConnection[dict[str, Any]]]:
    """A connection of the launcher's role."""
    url = load(PostgresSettings, platform.state / "datalabs.toml").url("launcher")
    host, port = str(url.query.get("host") or url.host), str(url.query.get("port") or url.port)
    async with await psycopg.AsyncConnection.connect(
        host=host,
        port=int(port),
        user=url.username,
        password=url.password,
        dbname=url.database,
        autocommit=True,
        row_factory=dict_row,
    ) as connection:
        yield connection


async def rows(database: psycopg.AsyncConnection[dict[str, Any]], statement: str) -> list[dict[str, Any]]:
    """Return what a statement gives."""
    return await (await database.execute(statement.encode())).fetchall()


async def leader(database: psycopg.AsyncConnection[dict[str, Any]]) -> tuple[int, int] | None:
    """Return epoch and process of who leads by the lease's own word."""
    found = await rows(
        database, "SELECT holder, epoch FROM leases WHERE name = 'clusters' AND expires_at > now()"
    )
    return (found[0]["epoch"], int(found[0]["holder"].rsplit("-", 2)[1])) if found else None


async def other_than(database: psycopg.AsyncConnection[dict[str, Any]], epoch: int) -> tuple[int, int]:
    """Wait for a leader of a later epoch."""
    async with asyncio.timeout(30):
        while True:
            found = await leader(database)
            if found is not None and found[0] > epoch:
                return found
            await asyncio.sleep(LOOK)


async def asked(address: str, path: str, **params: str) -> list[dict[str, Any]]:
    """Return a list of the cluster itself."""
    async with aiohttp.ClientSession() as session, session.get(address + path, params=params) as answer:
        found: list[dict[str, Any]] = await answer.json()
        return found


async def test_the_leader_is_killed_twenty_times_under_load(
    platform: RunningPlatform,
    launchers: Launchers,
    database: psycopg.AsyncConnection[dict[str, Any]],
    cluster: str,
) -> None:
    work, ended, gaps = Work(), asyncio.Event(), list[float]()
    async with platform.client("admin") as datalabs, facts_of(platform) as facts:
        hands = [asyncio.create_task(work.go_on(datalabs, facts, ended)) for _ in range(HANDS)]
        await facts.until("ready", 3, seconds=60)
        epoch, pid = await other_than(database, 0)
        for number in range(KILLS):
            killed = time.monotonic()
            again = asyncio.create_task(launchers.kill(pid))
            epoch, pid = await other_than(database, epoch)
            gaps.append(time.monotonic() - killed)
            ready = len(facts.of["ready"])
            await facts.until("ready", ready + 1, seconds=30)
            assert len(facts.of["ready"]) > ready, f"no lab became ready after kill {number + 1}"
            await again
            for name in launchers.processes:
                await launchers.up(name)
        ended.set()
        await asyncio.gather(*hands)

        moving: list[dict[str, Any]] = []

        async def settled() -> bool:
            moving[:] = await rows(
                database,
                "SELECT id, state, phase, progress_text, claimed_by, claimed_until, due_at, now() FROM labs"
                " WHERE state NOT IN ('ready', 'stopped', 'failed')",
            )
            return not moving

        try:
            await until("all labs are ready or have ended", settled, seconds=60)
        except AssertionError:
            raise AssertionError(f"on their way for ever: {moving[:5]}") from None
    labs = {
        row["id"]: row for row in await rows(database, "SELECT id, state, reason, attempt, job_id FROM labs")
    }
    assert set(labs) == work.launched, "each lab that was promised is there, and no other"
    assert {one for one, row in labs.items() if row["state"] == "failed"} == set()
    assert {one for one, row in labs.items() if row["state"] == "stopped"} == work.stopped
    assert {labs[one]["reason"] for one in work.stopped} == {"stopped_by_user"}
    assert {row["attempt"] for row in labs.values()} == {1}
    often = await rows(
        database,
        "SELECT lab_id, count(*) AS times FROM transitions WHERE state = 'ready' GROUP BY lab_id HAVING count(*) > 1",
    )
    assert often == [], "no lab became ready twice"

    async def cleared() -> bool:
        return {job["ID"] for job in await asked(cluster, "/v1/jobs", prefix="lab-")} == {
            row["job_id"] for row in labs.values() if row["state"] == "ready"
        }

    await until("the cluster has a job for each lab that is ready, and no other", cleared, seconds=30)
    allocations = await asked(cluster, "/v1/allocations", per_page="5000")
    placed = [one["JobID"] for one in allocations if one["JobID"].startswith("lab-")]
    assert len(placed) > KILLS
    assert len(placed) == len(set(placed)), "no job was placed twice"
    print(
        f"{len(labs)} labs, {len(work.stopped)} stopped, {KILLS} leaders killed: another led after"
        f" {statistics.median(gaps):.2f} s (p50), {max(gaps):.2f} s (longest)"
    )
    assert max(gaps) < MOVES_WITHIN
