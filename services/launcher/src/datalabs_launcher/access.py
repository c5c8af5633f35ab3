"""Whose lab is it, and who asks: what you may not see does not exist for you."""

from datalabs_contracts.labs import Reason
from datalabs_contracts.problems import ProblemCode, ProblemError
from datalabs_launcher.models import LabRecord
from datalabs_launcher.store import labs
from datalabs_runtime.database import Database
from datalabs_runtime.identity import Identity


async def lab_for(database: Database, identity: Identity, lab_id: str, *, deleted: bool = False) -> LabRecord:
    """Return a lab to somebody who may see it.

    Raises `ProblemError` (not_found), the same for a foreign lab as for none.
    """
    async with database.reading() as session:
        record = await labs.get(session, lab_id)
    if record is None or not may_see(identity, record) or (record.deleted_at is not None and not deleted):
        raise ProblemError(ProblemCode.NOT_FOUND)
    return record


def may_see(identity: Identity, record: LabRecord) -> bool:
    """Whether this is the owner, an operator, or a service that acts for the owner or for itself."""
    if identity.service is not None:
        return identity.act_for in {None, record.owner}
    return identity.username == record.owner or identity.is_operator


def listed_owner(identity: Identity, wanted: str | None) -> str | None:
    """Return whose labs a list shows; None: everybody's, for operators and services.

    Raises `ProblemError` (not_found) for somebody else's.
    """
    if identity.service is not None:
        return wanted or identity.act_for
    if identity.is_operator:
        return wanted
    if wanted not in {None, identity.username}:
        raise ProblemError(ProblemCode.NOT_FOUND)
    return identity.username


def stop_reason(identity: Identity, record: LabRecord, wanted: Reason | None) -> Reason:
    """Return the reason that a request to end a lab stands for; only services name one of a rule."""
    if identity.service is not None:
        return wanted or Reason.STOPPED_BY_OPERATOR
    return Reason.STOPPED_BY_USER if identity.username == record.owner else Reason.STOPPED_BY_OPERATOR


def check_operator(identity: Identity) -> None:
    """Let operators pass, nobody else.

    Raises `ProblemError` (forbidden).
    """
    if not identity.is_operator:
        raise ProblemError(ProblemCode.FORBIDDEN, "Only operators may do this.")
