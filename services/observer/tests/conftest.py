from collections.abc import AsyncIterator
from typing import Any

import pytest

from datalabs_observer.history import History
from datalabs_observer.spans import Spans
from datalabs_runtime.database import Database
from datalabs_testing.clock import FakeClock


@pytest.fixture
async def db(database: Any) -> Database:
    started: Database = await database("observer")
    return started


@pytest.fixture
def history(db: Database, clock: FakeClock) -> History:
    return History(database=db, clock=clock)


@pytest.fixture
async def spans(db: Database, clock: FakeClock) -> AsyncIterator[Spans]:
    part = Spans(database=db, clock=clock, capacity=5000)
    await part.start()
    yield part
    await part.aclose()
