"""Moments as whole microseconds since 1970, as cursors carry them."""

from datetime import UTC, datetime, timedelta

from datalabs_contracts.problems import ProblemCode, ProblemError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
NANOSECONDS = 1_000_000_000


def microseconds(at: datetime) -> int:
    """Return the whole microseconds since 1970."""
    return (at - EPOCH) // MICROSECOND


def moment(at: int) -> datetime:
    """Return the moment of a cursor. Raises `ProblemError` (invalid_cursor) when no calendar has it."""
    try:
        return EPOCH + timedelta(microseconds=at)
    except OverflowError as error:
        raise ProblemError(ProblemCode.INVALID_CURSOR) from error


def from_nanoseconds(at: int) -> datetime:
    """Return a span's time as a moment."""
    return EPOCH + timedelta(microseconds=at // 1000)
