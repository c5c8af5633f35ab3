import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest_asyncio
from joserfc.jwk import ECKey
from sqlalchemy import select

from datalabs_contracts.datalabs import Runtimes
from datalabs_contracts.labs import Lab, LabFact, LabState, LaunchBody, LaunchLab
from datalabs_launcher.assembly import Launcher, assemble
from datalabs_launcher.config import LauncherSettings
from datalabs_launcher.crash_points import CrashPoints
from datalabs_launcher.launches import Owner
from datalabs_launcher.models import LabRecord
from datalabs_launcher.placement import Site
from datalabs_launcher.store import labs
from datalabs_launcher.tables import Base
from datalabs_launcher.tokens import LabTokens
from datalabs_runtime.clock import Clock, SystemClock
from datalabs_runtime.database import Database
from datalabs_runtime.outbox import Outbox
from datalabs_runtime.service import Loop, Part
from datalabs_testing.clock import FakeClock

from .fake_neighbours import RUNTIMES, FakeNeighbours
from .fake_scheduler import FakeScheduler

ADA = Owner(username="ada", uid=200_001, unlimited=False)
ADMIN = Owner(username="admin", uid=200_000, unlimited=True)
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SITE = Site(
    scheme="http", domain="localhost", port=8080, api_url="http://localhost:8080", edge_key=b"the edge's key"
)
PATIENCE = 10.0
HASTE = {"poll": 0.05, "stop_repeat": 0.05}
"""For the machine's clock: fallbacks come soon."""


class Killed(BaseException):
    """The launcher died here; nothing after this point was done."""


@dataclass
class DiesAt:
    """Lets the launcher die once at one point; whoever comes later there survives."""

    point: str | None = None
    died: asyncio.Event = field(default_factory=asyncio.Event)
    seen: list[str] = field(default_factory=list)

    async def reached(self, point: str, lab_id: str) -> None:  # noqa: ARG002 - one death is enough
        self.seen.append(point)
        if self.died.is_set():
            await asyncio.Event().wait()  # the process is gone: nothing else of it goes on
        if point == self.point:
            self.died.set()
            raise Killed(point)


@dataclass
class Instance:
    """A running launcher."""

    launcher: Launcher
    parts: list[Part]

    async def kill(self) -> None:
        """End it as SIGKILL would: nothing is given back, nothing is said."""
        for task in list(self.launcher.driver._tasks.values()):
            task.cancel()
        await self.close()

    async def close(self) -> None:
        for part in reversed(self.parts):
            with contextlib.suppress(Killed):
                await part.aclose()


@dataclass(repr=False)
class Rig:
    """A database, a cluster and neighbours that outlive any number of launchers."""

    database: Database
    scheduler: FakeScheduler
    neighbours: FakeNeighbours
    clock: Clock
    settings: LauncherSettings
    tokens: LabTokens
    published: list[tuple[str, bytes]] = field(default_factory=list)
    instances: list[Instance] = field(default_factory=list)
    keys: "itertools.count[int]" = field(default_factory=itertools.count)

    @property
    def launcher(self) -> Launcher:
        """The newest launcher."""
        return self.instances[-1].launcher

    async def start(
        self,
        crash_points: CrashPoints | None = None,
        *,
        database: Any = None,
        scheduler: Any = None,
        **settings: Any,
    ) -> Launcher:
        """Start a launcher, with hands of its own on database and cluster if they are given."""

        async def publish(subject: str, payload: bytes) -> None:
            self.published.append((subject, payload))

        launcher = assemble(
            database=database or self.database,
            outbox=Outbox(Base, "launcher", clock=self.clock),
            scheduler=scheduler or self.scheduler,
            rpc=self.neighbours,
            publish=publish,
            tokens=self.tokens,
            site=SITE,
            settings=self.settings.model_copy(update=settings),
            clock=self.clock,
            crash_points=crash_points,
        )
        parts = launcher.parts()
        if isinstance(
            self.clock, FakeClock
        ):  # each wake-up of a loop costs real time: the test calls the work
            parts = [part for part in parts if not isinstance(part, Loop)]
            admission = launcher.admission
            parts.append(Loop("admission", 1e9, admission.round, wake=admission.wake, clock=self.clock))
        instance = Instance(launcher, parts)
        self.instances.append(instance)
        for part in instance.parts:
            await part.start()
        return launcher

    async def restart(self, **settings: Any) -> Launcher:
        """Kill the launcher and start another."""
        await self.instances[-1].kill()
        return await self.start(**settings)

    async def pass_time(self, seconds: float) -> None:
        """Move the test's clock and let the launcher look at what is due."""
        assert isinstance(self.clock, FakeClock)
        await self.clock.advance(seconds)
        await self.launcher.driver.poll()
        await self.launcher.driver.idle()

    def resize(self, cores: float) -> None:
        """Let the cluster have so many cores from now on."""
        self.scheduler.cores = cores
        self.launcher.admission._capacity = None

    async def launch(
        self, datalab: str = "stub", *, owner: Owner = ADA, key: str | None = None, **body: Any
    ) -> LabRecord:
        """Launch as the person would."""
        request = LaunchLab(body=LaunchBody(datalab=datalab, **body), idempotency_key=key)
        return await self.launcher.launches.launch(request, owner, TRACEPARENT)

    async def lab(self, lab_id: str) -> LabRecord:
        """What is stored of a lab."""
        async with self.database.reading() as session:
            record = await labs.get(session, lab_id)
        assert record is not None
        return record

    async def until(self, lab_id: str, *states: LabState) -> LabRecord:
        """Wait until a lab is in one of these states."""

        async def there() -> LabRecord | None:
            record = await self.lab(lab_id)
            return record if record.state in states else None

        return await self.eventually(there, lambda: self.lab(lab_id))

    async def eventually(
        self,
        condition: Callable[[], Awaitable[Any]],
        explain: Callable[[], Awaitable[Any]] | None = None,
    ) -> Any:
        """Wait until something is true, and return it."""
        loop = asyncio.get_running_loop()
        end = loop.time() + PATIENCE
        while loop.time() < end:
            value = await condition()
            if value:
                return value
            await asyncio.sleep(0.01)
        raise AssertionError(f"it did not happen; now: {await explain() if explain else ''}")

    async def facts(self, lab_id: str | None = None) -> list[str]:
        """The facts told of a lab, in the order in which they were written."""
        table = Base.Outbox.__table__
        async with self.database.reading() as session:
            rows = await session.execute(select(table.c.subject).order_by(table.c.id))
        found = [subject.split(".") for (subject,) in rows]
        return [parts[3] for parts in found if parts[1] == "lab" and lab_id in {None, parts[2]}]

    async def told(self, lab_id: str) -> list[Lab]:
        """The lab as each of its facts showed it."""
        table = Base.Outbox.__table__
        async with self.database.reading() as session:
            rows = await session.execute(select(table.c.subject, table.c.body).order_by(table.c.id))
        return [
            LabFact.model_validate_json(body).lab
            for subject, body in rows
            if subject.startswith(f"events.lab.{lab_id}.")
        ]


MakeRig = Callable[..., Awaitable["Rig"]]


@pytest_asyncio.fixture
async def make_rig(database: Any, tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[Rig]]]:
    rigs: list[Rig] = []

    async def make(
        scheduler: FakeScheduler | None = None,
        *,
        clock: Clock | None = None,
        crash_points: CrashPoints | None = None,
        runtimes: Runtimes = RUNTIMES,
        **settings: Any,
    ) -> Rig:
        now = clock or SystemClock()
        rig = Rig(
            database=await database("launcher"),
            scheduler=scheduler or FakeScheduler(now.now),
            neighbours=FakeNeighbours(tmp_path, runtimes),
            clock=now,
            settings=LauncherSettings(**{**(HASTE if clock is None else {}), **settings}),
            tokens=LabTokens(key=ECKey.generate_key("P-256"), clock=now),
        )
        rigs.append(rig)
        await rig.start(crash_points)
        return rig

    yield make
    for rig in rigs:
        for instance in rig.instances:
            await instance.close()
        await rig.scheduler.close_all()


@pytest_asyncio.fixture
async def rig(make_rig: Callable[..., Awaitable[Rig]]) -> Rig:
    return await make_rig()
