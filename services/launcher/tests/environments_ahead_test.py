"""Preparing versions ahead while the database comes and goes: that is no fault of theirs."""

from pathlib import Path
from typing import Any

import pytest_asyncio
from sqlalchemy.exc import OperationalError

from datalabs_contracts.datalabs import ReadinessState
from datalabs_launcher.environments import Environments
from datalabs_launcher.neighbours import Neighbours
from datalabs_launcher.scheduler import EnvironmentProgress
from datalabs_launcher.store import environments as store
from datalabs_launcher.tables import Base
from datalabs_runtime.clock import SystemClock
from datalabs_runtime.database import Database
from datalabs_runtime.outbox import Outbox
from datalabs_testing.waiting import eventually

from .fake_neighbours import FakeNeighbours
from .fake_scheduler import FakeScheduler


class Flaky(Outbox):
    """An outbox of a database that is away for the writes of these numbers, counted from one."""

    def __init__(self, *away: int) -> None:
        super().__init__(Base, "launcher")
        self.writes = 0
        self._away = away

    def add(self, *arguments: Any, **named: Any) -> str:
        """Write the event, or fail as a lost connection does."""
        self.writes += 1
        if self.writes in self._away:
            raise OperationalError("INSERT", {}, ConnectionError("the database system is starting up"))
        return super().add(*arguments, **named)


@pytest_asyncio.fixture
async def stored(database: Any) -> Database:
    made: Database = await database("launcher")
    return made


async def state_of(stored: Database) -> ReadinessState | None:
    async with stored.reading() as session:
        record = await store.get(session, "stub", "1")
    return record.state if record else None


async def test_what_cannot_be_stored_ends_no_preparation_and_is_stored_later(
    stored: Database, tmp_path: Path
) -> None:
    scheduler = FakeScheduler()
    scheduler.environments["stub"] = [
        EnvironmentProgress(ready=False, fraction=0.5, text="Half"),
        EnvironmentProgress(ready=True, fraction=1.0, text="Ready"),
    ]
    outbox = Flaky(2, 3)  # the first tells that it waits; then come its progress, and its end
    clock = SystemClock()
    environments = Environments(
        database=stored,
        outbox=outbox,
        scheduler=scheduler,
        neighbours=Neighbours(rpc=FakeNeighbours(tmp_path), clock=clock),
        clock=clock,
        wake=lambda _: None,
    )
    await environments.start()

    async def ready() -> bool:
        return await state_of(stored) is ReadinessState.READY

    try:
        await eventually(ready)
    finally:
        await environments.aclose()
    assert environments.is_ready("stub", "1")
    assert outbox.writes == 4
    assert scheduler.prepared == ["stub"]
