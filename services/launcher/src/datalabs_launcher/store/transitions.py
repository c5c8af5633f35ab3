"""Transitions of many labs as one statement: each with its timeline, its attempt and its event, all or nothing.

Written one after the other these are six statements for each transition, most of a launch's processor time. Here all
that a crowd of labs becomes at the same time goes to PostgreSQL as one JSON document, so that a statement's own cost
is shared. Data-modifying WITH clauses run exactly once each and see the same snapshot (PostgreSQL 18, section 7.8.4);
what follows a lab's own clause is joined to it, so that nothing is written of a lab that has moved.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, cast

from pydantic_core import to_json
from sqlalchemy import (
    CTE,
    BigInteger,
    Column,
    ColumnElement,
    Executable,
    Integer,
    String,
    Subquery,
    Table,
    TableValuedAlias,
    bindparam,
    func,
    insert,
    literal_column,
    select,
    true,
    update,
)
from sqlalchemy import cast as cast_to
from sqlalchemy import column as named
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession

from datalabs_launcher.models import AttemptRecord, LabRecord, Moment
from datalabs_launcher.store.attempts import ATTEMPTS, TRANSITIONS
from datalabs_launcher.store.labs import CHANNEL, LABS, WAITING, vars_of
from datalabs_launcher.tables import Base
from datalabs_runtime.direct import Direct, Plain
from datalabs_runtime.outbox import as_json

OUTBOX = cast(Table, Base.Outbox.__table__)
EVENT = ("event_id", "subject", "entity", "revision", "headers", "body")
MOMENT = tuple(item.name for item in fields(Moment))
BY_LAUNCH = frozenset(
    {
        "id", "owner", "owner_uid", "unlimited", "name", "datalab", "datalab_title", "version", "kind", "parameters",
        "collections", "volumes", "specification_document", "idempotency_key", "body_hash", "created_at",
    }
)  # fmt: skip
"""What only a launch, or a new attempt, says of a lab; no transition changes it."""
CHANGEABLE = [item.name for item in fields(LabRecord) if item.name not in BY_LAUNCH]
CHANGEABLE_NAMES = frozenset(CHANGEABLE)
DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]


@dataclass(frozen=True, kw_only=True)
class Transition:
    """One lab's next revision: what becomes of its row and its attempt, its timeline, its event (an outbox row)."""

    record: LabRecord
    values: Mapping[str, Any]
    moments: Sequence[Moment]
    attempt_values: Mapping[str, Any]
    event: Mapping[str, Any]

    @property
    def attempt(self) -> int:
        """The attempt it belongs to."""
        return int(self.values.get("attempt", self.record.attempt))


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A new lab with its first attempt, the first moment of its timeline, and its event (an outbox row)."""

    record: LabRecord
    attempt: AttemptRecord
    first: Moment
    event: Mapping[str, Any]
    max_queued: int


def _read(document: str, column: Column[Any]) -> str:
    """Return the SQL that reads a column's value from a JSON document."""
    if isinstance(column.type, JSONB):
        return f"{document} -> '{column.name}'"
    text = f"{document} ->> '{column.name}'"
    if isinstance(column.type, String):
        return text
    return f"CAST({text} AS {column.type.compile(dialect=DIALECT)})"


def _values(document: str, table: Table, names: Iterable[str]) -> list[ColumnElement[Any]]:
    return [literal_column(_read(document, table.c[name])) for name in names]


def _changes(table: Table, document: str, names: Iterable[str]) -> dict[str, ColumnElement[Any]]:
    """Return what an UPDATE sets: what the document holds is taken from it, null too; the rest stays."""
    return {
        name: literal_column(
            f"CASE WHEN {document} ? '{name}' THEN {_read(document, table.c[name])} "
            f"ELSE {table.name}.{name} END",
            table.c[name].type,
        )
        for name in names
    }


def _rows(**columns: Any) -> TableValuedAlias:
    """Return the statement's one parameter, a JSON list, as rows."""
    found = func.jsonb_to_recordset(cast_to(bindparam("given"), JSONB)).table_valued(
        *(named(name, kind) for name, kind in columns.items())
    )
    return found.render_derived(name="g", with_types=True)


def _with_events(source: CTE | Subquery) -> CTE:
    """Insert an event a row; the default of `created_at` wakes the relay."""
    event = f"{source.name}.event"
    values: list[ColumnElement[Any]] = [
        literal_column(f"convert_to({event} ->> 'body', 'UTF8')")
        if name == "body"
        else literal_column(_read(event, OUTBOX.c[name]))
        for name in EVENT
    ]
    rows = select(*values).select_from(source).order_by(source.c.number)
    return insert(OUTBOX).from_select(list(EVENT), rows).returning(literal_column("1")).cte("event")


def _with_moments(source: CTE | Subquery) -> CTE:
    """Insert transitions in their order: their ids tell it."""
    listed = (
        func.jsonb_array_elements(source.c.moments)
        .table_valued("moment", with_ordinality="place")
        .render_derived(name="m")
    )
    values = _values("m.moment", TRANSITIONS, MOMENT)
    found = select(source.c.id, source.c.attempt, *values).select_from(source.join(listed, true()))
    return (
        insert(TRANSITIONS)
        .from_select(["lab_id", "attempt", *MOMENT], found.order_by(source.c.number, listed.c.place))
        .returning(literal_column("1"))
        .cte("moments")
    )


def _change_all() -> Executable:
    given = _rows(
        number=Integer, id=String, revision=BigInteger, attempt=Integer, told=String, lab=JSONB,
        attempt_values=JSONB, moments=JSONB, event=JSONB,
    )  # fmt: skip
    carried = ("number", "attempt", "told", "attempt_values", "moments", "event")
    lab = (
        update(LABS)
        .where(LABS.c.id == given.c.id, LABS.c.revision == given.c.revision)
        .values(_changes(LABS, "g.lab", CHANGEABLE))
        .returning(LABS.c.id, *(given.c[name] for name in carried))
        .cte("lab")
    )
    names = [item.name for item in fields(AttemptRecord) if item.name not in {"lab_id", "attempt"}]
    attempt = (
        update(ATTEMPTS)
        .where(
            ATTEMPTS.c.lab_id == lab.c.id,
            ATTEMPTS.c.attempt == lab.c.attempt,
            lab.c.attempt_values != literal_column("'{}'::jsonb"),
        )
        .values(_changes(ATTEMPTS, "lab.attempt_values", names))
        .returning(literal_column("1"))
        .cte("changed_attempt")
    )
    told = select(lab.c.number, func.pg_notify(literal_column(f"'{CHANNEL}'"), lab.c.told))
    return told.add_cte(_with_events(lab), _with_moments(lab), attempt)


def _enter_all() -> Executable:
    given = _rows(
        number=Integer, id=String, owner=String, most=Integer, attempt=Integer, lab=JSONB, first=JSONB,
        moments=JSONB, event=JSONB,
    )  # fmt: skip
    names = [item.name for item in fields(LabRecord)]
    waiting = select(func.count()).where(LABS.c.owner == given.c.owner, *WAITING).scalar_subquery()
    wished = select(given, waiting.label("waiting")).cte("wished")
    row = (
        select(*_values("wished.lab", LABS, names))
        .select_from(wished)
        .where(wished.c.waiting < wished.c.most)
    )
    lab = upsert(LABS).from_select(names, row).on_conflict_do_nothing().returning(LABS.c.id).cte("lab")
    new = select(wished).join(lab, lab.c.id == wished.c.id).cte("new")
    columns = [item.name for item in fields(AttemptRecord)]
    begun = select(*_values("new.first", ATTEMPTS, columns)).select_from(new)
    attempt = (
        upsert(ATTEMPTS)
        .from_select(columns, begun)
        .on_conflict_do_nothing()
        .returning(literal_column("1"))
        .cte("begun")
    )
    answer = select(wished.c.number, wished.c.waiting, lab.c.id).select_from(
        wished.outerjoin(lab, lab.c.id == wished.c.id)
    )
    return answer.add_cte(attempt, _with_moments(new), _with_events(new))


CHANGE_ALL = Plain(_change_all())
ENTER_ALL = Plain(_enter_all())


def _document(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    return {"given": to_json(rows).decode()}


async def change_all(where: AsyncSession | Direct, changes: Sequence[Transition], instance: str) -> set[int]:
    """Make these transitions and wake the other instances when this commits; return the places of those made.

    Not made are those of labs that are not at their record's revision any more; nothing of them is written.

    Raises `ValueError` for a value that no transition may change.
    """
    for one in changes:
        if not CHANGEABLE_NAMES.issuperset(one.values):
            raise ValueError(f"a transition cannot change {sorted(set(one.values) - CHANGEABLE_NAMES)}")
    rows = [
        {
            "number": number,
            "id": one.record.id,
            "revision": one.record.revision,
            "attempt": one.attempt,
            "told": f"{one.record.id} {instance}",
            "lab": {**one.values, "revision": one.record.revision + 1},
            "attempt_values": one.attempt_values,
            "moments": [asdict(moment) for moment in one.moments],
            "event": as_json(one.event),
        }
        for number, one in enumerate(changes)
    ]
    rows.sort(
        key=lambda row: str(row["id"])
    )  # rows are locked in this order, so that two batches never cross
    return {number for number, _ in await CHANGE_ALL.on(where, _document(rows))}


async def enter_all(where: AsyncSession | Direct, entries: Sequence[Entry]) -> list[bool | None]:
    """Insert new labs; False for an id or key that is taken, None where too many of the owner's labs wait."""
    first: dict[str, int] = {}
    for number, one in enumerate(entries):
        first.setdefault(one.record.id, number)
    rows = [
        {
            "number": number,
            "id": one.record.id,
            "owner": one.record.owner,
            "most": one.max_queued,
            "attempt": one.record.attempt,
            "lab": vars_of(one.record),
            "first": asdict(one.attempt),
            "moments": [asdict(one.first)],
            "event": as_json(one.event),
        }
        for number, one in ((number, entries[number]) for number in first.values())
    ]
    answers: list[bool | None] = [False] * len(entries)
    for number, waiting, inserted in await ENTER_ALL.on(where, _document(rows)):
        refused = waiting >= entries[number].max_queued
        answers[number] = True if inserted is not None else None if refused else False
    return answers
