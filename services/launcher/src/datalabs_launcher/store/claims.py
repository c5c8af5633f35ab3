"""Claims on labs: only one instance at a time takes steps of a lab. Many labs are claimed and given back together."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    String,
    any_,
    bindparam,
    case,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession

from datalabs_launcher.models import LabRecord
from datalabs_launcher.store.labs import ALIVE, COLUMNS, LABS, record_of
from datalabs_runtime.direct import Direct, Plain


def _claimable() -> ColumnElement[bool]:
    mine = LABS.c.claimed_by == bindparam("instance")
    return or_(LABS.c.claimed_by.is_(None), mine, LABS.c.claimed_until < bindparam("now"))


CLAIM = Plain(
    update(LABS)
    .where(LABS.c.id == any_(bindparam("lab_ids", type_=ARRAY(String))), ALIVE, _claimable())
    .values(claimed_by=bindparam("instance"), claimed_until=bindparam("until"))
    .returning(*COLUMNS)
)
_GIVEN_BACK = (
    func.unnest(
        bindparam("lab_ids", type_=ARRAY(String)),
        bindparam("revisions", type_=ARRAY(BigInteger)),
        bindparam("dues", type_=ARRAY(LABS.c.due_at.type)),
    )
    .table_valued("lab_id", "revision", "due")
    .render_derived()
)
RELEASE = Plain(
    update(LABS)
    .where(LABS.c.id == _GIVEN_BACK.c.lab_id, LABS.c.claimed_by == bindparam("instance"))
    .values(
        claimed_by=None,
        claimed_until=None,
        due_at=case((LABS.c.revision == _GIVEN_BACK.c.revision, _GIVEN_BACK.c.due), else_=LABS.c.due_at),
    )
)
CLAIM_DUE = (
    update(LABS)
    .where(
        LABS.c.id.in_(
            select(LABS.c.id)
            .where(ALIVE, LABS.c.due_at <= bindparam("now"), _claimable())
            .order_by(LABS.c.due_at)
            .limit(bindparam("most"))
            .with_for_update(skip_locked=True)
            .scalar_subquery()
        )
    )
    .values(claimed_by=bindparam("instance"), claimed_until=bindparam("until"), due_at=bindparam("again"))
    .returning(LABS.c.id)
)


async def claim(
    where: AsyncSession | Direct, lab_ids: Sequence[str], *, instance: str, now: datetime, until: datetime
) -> dict[str, LabRecord]:
    """Take labs for their next step, by id; without those that ended, are gone, or another instance has."""
    values = {"lab_ids": sorted(lab_ids), "instance": instance, "now": now, "until": until}
    return {row.id: record_of(row) for row in await CLAIM.on(where, values)}


async def release(
    where: AsyncSession | Direct, labs: Sequence[tuple[str, int, datetime | None]], *, instance: str
) -> None:
    """Give claimed labs back (id, revision, due), and say when somebody should look at each again.

    A lab that moved meanwhile keeps the time that was set when it moved: it is earlier.
    """
    ordered = sorted(labs, key=lambda one: one[0])
    values = {
        "lab_ids": [lab_id for lab_id, _, _ in ordered],
        "revisions": [revision for _, revision, _ in ordered],
        "dues": [due for _, _, due in ordered],
        "instance": instance,
    }
    await RELEASE.on(where, values)


async def claim_due(
    session: AsyncSession, *, instance: str, now: datetime, until: datetime, again: datetime, limit: int
) -> list[str]:
    """Claim labs whose time has come; those that another instance is looking at are passed over.

    They are due once more at `again`, should nobody get to them.
    """
    values = {"instance": instance, "now": now, "until": until, "again": again, "most": limit}
    return list((await session.execute(CLAIM_DUE, values)).scalars())
