"""When a lab ends by rule: its time is over, or nobody uses it. Pure; announced at 15 and 5 minutes."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from datalabs_contracts.labs import Reason
from datalabs_contracts.problems import ProblemCode, ProblemError
from datalabs_launcher.models import LabRecord

NOTICES = (15, 5)
"""Minutes before the end at which people are told."""


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What the rules say now: end it (`reason` without `minutes`), tell of it (`minutes`), or look again at `due_at`."""

    ends_at: datetime | None = None
    reason: Reason | None = None
    end: bool = False
    minutes: int | None = None
    reset: bool = False
    due_at: datetime | None = None


def outlook(
    record: LabRecord, now: datetime, *, moved: Callable[[datetime], datetime] = lambda moment: moment
) -> Outlook:
    """Return what the rules say of a ready lab now; `moved` tells what the clock calls a moment of before.

    An expiry was promised as a moment and stays one. How long nobody used a lab is a length of time: it does not grow
    when the clock is set.
    """
    ends = _ends(record, moved)
    if not ends:
        return Outlook()
    ends_at, reason, period = min(ends, key=lambda item: item[0])
    left = ends_at - now
    if left <= timedelta(0):
        return Outlook(ends_at=ends_at, reason=reason, end=True)
    fitting = [minutes for minutes in NOTICES if period > timedelta(minutes=minutes)]
    passed = [minutes for minutes in fitting if left <= timedelta(minutes=minutes)]
    told = record.noticed_minutes
    if passed and (told is None or min(passed) < told):
        return Outlook(ends_at=ends_at, reason=reason, minutes=min(passed), due_at=ends_at)
    coming = [ends_at - timedelta(minutes=minutes) for minutes in fitting if minutes not in passed]
    return Outlook(
        ends_at=ends_at,
        reason=reason,
        reset=told is not None and not passed,
        due_at=min([*coming, ends_at]),
    )


def _ends(
    record: LabRecord, moved: Callable[[datetime], datetime]
) -> list[tuple[datetime, Reason, timedelta]]:
    """Return when and why it will end, and how long the rule's whole period is."""
    ends: list[tuple[datetime, Reason, timedelta]] = []
    begun = record.ready_at or record.state_since
    if record.expires_at is not None:
        ends.append((record.expires_at, Reason.EXPIRED, record.expires_at - begun))
    if record.idle_minutes > 0 and not record.batch and record.last_active_at is not None:
        period = timedelta(minutes=record.idle_minutes)
        used = moved(record.last_active_at)
        since = max(used, record.kept_until or used)
        ends.append((since + period, Reason.IDLE, period))
    return ends


def lifetime_of(record: LabRecord, site_seconds: float) -> timedelta:
    """Return how long a lab may run from ready: its owner's or its datalab's rule, else the site's."""
    own = record.lifetime_seconds
    return timedelta(seconds=own if own is not None else site_seconds)


def kept(record: LabRecord, until: datetime, *, now: datetime, longest: float) -> datetime:
    """Return the new expiry of a lab that must not end before `until`.

    Raises `ProblemError` (invalid_request, extension_too_long).
    """
    if until <= now:
        raise ProblemError(ProblemCode.INVALID_REQUEST, "That moment has passed.")
    if until > now + timedelta(seconds=longest):
        raise ProblemError(
            ProblemCode.EXTENSION_TOO_LONG,
            f"A lab can be kept for {longest / 3600:g} hours from now at most.",
            longest_seconds=longest,
        )
    return max(until, record.expires_at) if record.expires_at else until


def extended(
    record: LabRecord, seconds: float | None, *, now: datetime, step: float, longest: float
) -> datetime:
    """Return the new expiry: so many seconds from now; the site's step never shortens.

    Raises `ProblemError` (extension_too_long).
    """
    if seconds is None:
        wanted = now + timedelta(seconds=min(step, longest))
        return max(wanted, record.expires_at) if record.expires_at else wanted
    if seconds > longest:
        raise ProblemError(
            ProblemCode.EXTENSION_TOO_LONG,
            f"A lab can be kept for {longest / 3600:g} hours from now at most.",
            longest_seconds=longest,
        )
    return now + timedelta(seconds=seconds)
