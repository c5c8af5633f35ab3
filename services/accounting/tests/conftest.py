from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from typing import Any

import pytest
from sqlalchemy import select

from datalabs_accounting.ledger import Ledger
from datalabs_accounting.models import Maxima
from datalabs_accounting.reservations import Reservations
from datalabs_accounting.tables import Base
from datalabs_accounting.usage import Usage
from datalabs_contracts.base import Page
from datalabs_contracts.datalabs import Kind
from datalabs_contracts.ids import ALPHABET
from datalabs_contracts.labs import Amounts, Lab, LabFact, LabsQuery, LabState, Reason
from datalabs_contracts.problems import ProblemCode, ProblemError
from datalabs_contracts.usage import Reserve
from datalabs_runtime.database import Database
from datalabs_runtime.inbox import Inbox
from datalabs_runtime.outbox import Outbox
from datalabs_testing.clock import FakeClock

OWNER = "hypatia"


@dataclass
class LauncherStandIn:
    """Answers LIST_LABS in pages of two; `breaks_after` pages it fails, as a restarted launcher does."""

    labs: list[Lab] = field(default_factory=list)
    breaks_after: int | None = None

    async def call(self, operation: Any, request: LabsQuery, **_: Any) -> Page[Lab]:
        assert operation.name == "list_labs"
        assert not request.include_ended
        at = int(request.cursor or 0)
        if self.breaks_after is not None and at >= 2 * self.breaks_after:
            raise ProblemError(ProblemCode.SERVICE_UNAVAILABLE)
        more = at + 2 < len(self.labs)
        return Page[Lab](items=self.labs[at : at + 2], next=str(at + 2) if more else None)


@dataclass(kw_only=True)
class Books:
    """Accounting without its wire."""

    database: Database
    clock: FakeClock
    launcher: LauncherStandIn
    ledger: Ledger
    reservations: Reservations
    usage: Usage
    _numbers: Iterator[int] = field(default_factory=count)

    def lab_id(self) -> str:
        number, letters = next(self._numbers), ""
        for _ in range(9):
            number, index = divmod(number, len(ALPHABET))
            letters += ALPHABET[index]
        return "a" + letters

    def lab(self, state: LabState = LabState.READY, **changes: Any) -> Lab:
        given = {
            "id": changes.pop("id", None) or self.lab_id(),
            "name": "My lab",
            "owner": OWNER,
            "datalab": "jupyterlab",
            "version": "4.5",
            "kind": Kind.NOTEBOOK,
            "size": "small",
            "cores": 0.5,
            "memory_mib": 768,
            "state": state,
            "reason": Reason.STOPPED_BY_USER if state.ended else None,
            "attempt": 1,
            "revision": 1,
            "created_at": self.clock.now(),
        }
        return Lab.model_validate(given | changes)

    def ended(self, started_at: datetime, seconds: float, **changes: Any) -> Lab:
        ended_at = started_at + timedelta(seconds=seconds)
        return self.lab(LabState.STOPPED, started_at=started_at, ended_at=ended_at, revision=9, **changes)

    async def take(self, lab: Lab, event_id: str | None = None) -> None:
        fact = LabFact(lab=lab, revision=lab.revision, owner=lab.owner, actor="service:launcher")
        await self.ledger.take(event_id or f"event-{next(self._numbers)}", fact)

    def reserve(self, *, owner: str = OWNER, **changes: Any) -> Reserve:
        given = {"lab_id": self.lab_id(), "attempt": 1, "owner": owner, "unlimited": False}
        amounts = Amounts(labs=1, cores=0.5, memory_mib=768)
        return Reserve.model_validate(given | {"amounts": amounts} | changes)

    async def facts(self) -> list[str]:
        table = Base.Outbox.__table__
        async with self.database.reading() as session:
            return list(await session.scalars(select(table.c.subject).order_by(table.c.id)))


@pytest.fixture
async def books(database: Any, clock: FakeClock) -> Books:
    db: Database = await database("accounting")
    launcher: Any = LauncherStandIn()
    reservations = Reservations(
        database=db,
        clock=clock,
        rpc=launcher,
        default=Maxima(labs=4, cores=4, memory_mib=8192),
        grace=timedelta(seconds=90),
    )
    return Books(
        database=db,
        clock=clock,
        launcher=launcher,
        ledger=Ledger(
            database=db, inbox=Inbox(Base), outbox=Outbox(Base, "accounting", clock=clock), pause=0
        ),
        reservations=reservations,
        usage=Usage(database=db, clock=clock, reservations=reservations),
    )
