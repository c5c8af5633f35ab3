"""What many labs become at once is one statement, and each lab is told, refused or left alone by itself."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError

from datalabs_contracts.labs import LabState, Reason
from datalabs_launcher.errors import LabMovedError
from datalabs_launcher.journal import Change, Journal
from datalabs_launcher.models import QUEUED, VOLUMES, AttemptRecord, LabRecord, Moment
from datalabs_launcher.store import attempts, claims, labs
from datalabs_launcher.tables import Base
from datalabs_runtime.database import Database
from datalabs_runtime.outbox import Outbox

from .records import queued_lab

NOW = datetime(2026, 5, 4, 12, 30, 0, 123456, tzinfo=UTC)
LATER = NOW + timedelta(minutes=1)
MANY = 12
LETTERS = "abcdefghjkmnpqrs"


@pytest_asyncio.fixture
async def stored(database: Any) -> Database:
    made: Database = await database("launcher")
    return made


@pytest.fixture
def journal(stored: Database) -> Journal:
    return Journal(direct=stored.direct(), outbox=Outbox(Base, "launcher"), instance="one")


def queued(number: int, *, owner: str = "ada", key: str | None = None) -> LabRecord:
    """Return a lab with all that JSON could spoil on its way to the database."""
    return queued_lab(
        NOW,
        id=f"abcdefgh{LETTERS[number]}a",
        owner=owner,
        name="Élan d'étoiles ✨",
        datalab_title='Stub "one" \\ two',
        cores=0.25,
        parameters={"depth": 1.5, "deep": {"list": [1, None, "x"]}},
        collections=["gaia"],
        specification_document={"title": "Ünïcode", "ports": [1, 2]},
        idempotency_key=key,
        due_at=None,
    )


def attempt_of(record: LabRecord) -> AttemptRecord:
    return AttemptRecord(lab_id=record.id, attempt=1, job_id=None, requested_at=NOW)


FIRST = Moment(at=NOW, state=LabState.QUEUED, phase=QUEUED, actor="ada")
LET_IN = Change(
    at=LATER, state=LabState.PREPARING, phase=VOLUMES, values={"place": "node/one", "due_at": LATER}
)


async def enter(journal: Journal, *records: LabRecord, max_queued: int = 100) -> list[bool | None]:
    entries = (journal.enter(record, attempt_of(record), FIRST, max_queued=max_queued) for record in records)
    return await asyncio.gather(*entries)


async def read(stored: Database, lab_id: str) -> LabRecord:
    async with stored.reading() as session:
        record = await labs.get(session, lab_id)
    assert record is not None
    return record


async def subjects(stored: Database) -> list[str]:
    table = Base.Outbox.__table__
    async with stored.reading() as session:
        return list((await session.execute(select(table.c.subject).order_by(table.c.id))).scalars())


async def transactions(stored: Database) -> int:
    """In how many transactions facts were written: in one the time stands still."""
    table = Base.Outbox.__table__
    async with stored.reading() as session:
        return int((await session.execute(select(func.count(table.c.created_at.distinct())))).scalar_one())


async def test_a_lab_is_stored_as_it_was_given(stored: Database, journal: Journal) -> None:
    record = queued(1, key="k1")
    assert await enter(journal, record) == [True]
    assert await read(stored, record.id) == record
    async with stored.reading() as session:
        assert await attempts.get(session, record.id, 1) == attempt_of(record)
        assert await attempts.moments(session, record.id, 1) == [FIRST]
    assert await subjects(stored) == [f"events.lab.{record.id}.queued"]


async def test_a_crowd_is_one_statement(stored: Database, journal: Journal) -> None:
    records = [queued(number) for number in range(MANY)]
    assert await enter(journal, *records) == [True] * MANY
    assert await transactions(stored) == 1
    written = await asyncio.gather(*(journal.write(record, LET_IN) for record in reversed(records)))
    assert await transactions(stored) == 2
    for record in written:
        assert await read(stored, record.id) == record
        assert (record.state, record.place, record.revision) == (LabState.PREPARING, "node/one", 2)
    assert len(await subjects(stored)) == 2 * MANY


async def test_two_clicks_make_one_lab(stored: Database, journal: Journal) -> None:
    one = queued(1, key="k1")
    assert sorted(await enter(journal, one, one), key=bool) == [False, True]
    other = replace(queued(2, key="k1"), name="the key is taken")
    assert await enter(journal, other, queued(3)) == [False, True]
    assert len(await subjects(stored)) == 2


async def test_too_many_that_wait_are_refused_and_nobody_elses(stored: Database, journal: Journal) -> None:
    first = queued(1)
    await enter(journal, first)
    await journal.write(first, Change(at=NOW, phase=QUEUED, text="Waits", values={"queue_position": 1}))
    mine, hers = queued(2), queued(3, owner="grace")
    assert await enter(journal, mine, hers, max_queued=1) == [None, True]
    async with stored.reading() as session:
        assert await labs.get(session, mine.id) is None
        assert await attempts.get(session, mine.id, 1) is None


async def test_a_lab_that_moved_is_left_alone_and_the_others_go_on(
    stored: Database, journal: Journal
) -> None:
    records = [queued(number) for number in range(3)]
    await enter(journal, *records)
    await journal.write(records[1], Change(at=NOW, text="somebody was quicker"))
    before = await subjects(stored)
    results = await asyncio.gather(
        *(journal.write(record, LET_IN) for record in records), return_exceptions=True
    )
    assert isinstance(results[1], LabMovedError)
    assert [await read(stored, records[place].id) for place in (0, 2)] == [results[0], results[2]]
    assert (await read(stored, records[1].id)).state is LabState.QUEUED
    assert (await subjects(stored))[len(before) :] == [
        f"events.lab.{records[place].id}.preparing" for place in (0, 2)
    ]


async def test_of_two_changes_of_one_lab_at_once_one_is_made(stored: Database, journal: Journal) -> None:
    record = queued(1)
    await enter(journal, record)
    results = await asyncio.gather(
        journal.write(record, Change(at=NOW, text="one")),
        journal.write(record, Change(at=NOW, text="other")),
        return_exceptions=True,
    )
    assert sorted(isinstance(result, LabMovedError) for result in results) == [False, True]
    assert (await read(stored, record.id)).revision == 2
    assert len(await subjects(stored)) == 2


async def test_what_one_lab_cannot_store_holds_no_other_back(stored: Database, journal: Journal) -> None:
    records = [queued(number) for number in range(3)]
    await enter(journal, *records)
    poison = Change(at=NOW, text="NUL: \x00")
    results = await asyncio.gather(
        journal.write(records[0], LET_IN),
        journal.write(records[1], poison),
        journal.write(records[2], LET_IN),
        return_exceptions=True,
    )
    assert isinstance(results[1], DBAPIError)
    assert [(await read(stored, record.id)).revision for record in records] == [2, 1, 2]


async def test_what_is_said_to_be_nothing_is_stored_as_nothing(stored: Database, journal: Journal) -> None:
    record = queued(1)
    await enter(journal, record)
    ended = Change(
        at=LATER,
        state=LabState.FAILED,
        phase="",
        values={"reason": Reason.CRASHED, "exit_code": 3, "last_lines": ["a", "é"], "due_at": None},
        attempt_values={
            "ended_at": LATER,
            "log_lines": ["a"],
            "log_truncated": True,
            "steps": [{"name": "x"}],
        },
    )
    record = await journal.write(await journal.write(record, Change(at=NOW, values={"due_at": LATER})), ended)
    assert await read(stored, record.id) == record
    assert (record.due_at, record.exit_code, record.last_lines) == (None, 3, ["a", "é"])
    async with stored.reading() as session:
        attempt = await attempts.get(session, record.id, 1)
        moments = await attempts.moments(session, record.id, 1)
    assert attempt is not None
    assert (attempt.ended_at, attempt.log_lines, attempt.log_truncated) == (LATER, ["a"], True)
    assert [moment.reason for moment in moments] == [None, Reason.CRASHED]


async def test_a_transition_changes_nothing_that_only_a_launch_says(journal: Journal) -> None:
    record = queued(1)
    await enter(journal, record)
    with pytest.raises(ValueError, match="owner"):
        await journal.write(record, Change(at=NOW, values={"owner": "grace"}))


async def test_labs_are_claimed_together_and_given_back(stored: Database, journal: Journal) -> None:
    records = [queued(number) for number in range(4)]
    await enter(journal, *records)
    ids = [record.id for record in records]
    until = LATER + timedelta(minutes=5)
    async with stored.reading() as session:
        mine = await claims.claim(session, [*ids[:2], "gone"], instance="one", now=LATER, until=until)
        assert mine == {record.id: record for record in records[:2]}
        others = await claims.claim(session, ids, instance="two", now=LATER, until=until)
        assert set(others) == set(ids[2:])
        late = await claims.claim(session, ids[:1], instance="two", now=until + LATER.resolution, until=until)
        assert set(late) == {ids[0]}
        moved = replace(records[1], revision=1)
        await claims.release(session, [(ids[0], 1, None), (ids[1], moved.revision + 1, NOW)], instance="one")
    assert (await read(stored, ids[1])).due_at is None, "it moved: the time set then stays"
    async with stored.reading() as session:
        assert set(await claims.claim(session, ids, instance="one", now=LATER, until=until)) == {ids[1]}
        await claims.release(session, [(ids[1], 1, NOW)], instance="one")
    assert (await read(stored, ids[1])).due_at == NOW


async def test_ports_are_given_once_and_rest(stored: Database, journal: Journal) -> None:
    records = [queued(number) for number in range(4)]
    await enter(journal, *records)
    keys = [(record.id, 1) for record in records]
    ring: dict[str, Any] = {"first": 30000, "last": 30002}
    async with stored.reading() as session:
        some = await attempts.take_addresses(session, keys[:2], **ring, rested_before=NOW)
        more = await attempts.take_addresses(session, keys, **ring, rested_before=NOW)
        assert more.items() > some.items()
        assert sorted(more.values()) == [30000, 30001, 30002]
        await attempts.release_address(session, *keys[0], at=NOW)
        missing = [key for key in keys if key not in more]
        assert await attempts.take_addresses(session, missing, **ring, rested_before=NOW) == {}
        rested = await attempts.take_addresses(session, missing, **ring, rested_before=LATER)
    assert rested == {missing[0]: some[keys[0]]}


async def test_a_port_that_was_taken_while_its_lab_ended_comes_back(
    stored: Database, journal: Journal
) -> None:
    lives, ended = queued(1), queued(2)
    await enter(journal, lives, ended)
    ring: dict[str, Any] = {"first": 30000, "last": 30001}
    async with stored.reading() as session:
        await attempts.take_addresses(session, [(lives.id, 1), (ended.id, 1)], **ring, rested_before=NOW)
    await journal.write(ended, Change(at=NOW, state=LabState.FAILED, values={"reason": Reason.CRASHED}))
    await enter(journal, queued(3))
    async with stored.reading() as session:
        await attempts.release_forgotten(session, at=NOW)
        taken = await attempts.take_addresses(session, [(queued(3).id, 1)], **ring, rested_before=LATER)
        kept = await attempts.take_addresses(session, [(lives.id, 1)], **ring, rested_before=LATER)
    assert set(taken.values()).isdisjoint(kept.values())
    assert len(taken) == 1
