"""The ledger of what was used, and reservations against limits."""

from datetime import date
from enum import StrEnum

from pydantic import Field

from datalabs_contracts.base import Body, Contract, Instant
from datalabs_contracts.ids import LabId, SizeName, Slug, Username
from datalabs_contracts.labs import Amounts, Limits


class Reserve(Contract):
    """Reserve for one attempt, atomically against the owner's limits; repeating it changes nothing."""

    lab_id: LabId
    attempt: int
    owner: Username
    unlimited: bool = Field(default=False, description="The owner is an operator.")
    amounts: Amounts


class Release(Contract):
    """Free the reservation of one attempt; repeating it changes nothing."""

    lab_id: LabId
    attempt: int


class LimitsQuery(Contract):
    """Ask what this person may have and has."""

    owner: Username
    unlimited: bool = False


class LimitsBody(Body):
    """`PUT /people/{username}/limits`: what differs from the site's own limits; missing means the site's."""

    unlimited: bool = Field(
        default=False, description="No limits at all; the maxima below do not count then."
    )
    max_labs: int | None = Field(default=None, ge=0, le=100_000)
    max_cores: float | None = Field(default=None, ge=0, le=1_000_000, allow_inf_nan=False)
    max_memory_mib: int | None = Field(default=None, ge=0, le=2**31 - 1)


class SetLimits(Contract):
    """An operator sets what one person may have; the whole of it, so that a repeat changes nothing."""

    owner: Username
    own: LimitsBody


class PersonLimits(Contract):
    """What one person may have: their own differences from the site's, the site's, and what holds."""

    username: Username
    own: LimitsBody
    site: Limits = Field(description="The site's maxima; `used` is this person's.")
    limits: Limits


class UsageBy(StrEnum):
    """How usage is grouped."""

    LAB = "lab"
    DAY = "day"
    SIZE = "size"
    DATALAB = "datalab"


class UsageQuery(Contract):
    """Usage of one owner between two moments (`until` excluded), grouped."""

    owner: Username | None = None
    since: Instant | None = None
    until: Instant | None = None
    by: UsageBy = UsageBy.LAB
    limit: int = Field(default=200, ge=1, le=500)
    cursor: str | None = None


class UsageRow(Contract):
    """One group: how many labs, their seconds, core-seconds and GiB-seconds. Running labs count up to now."""

    labs: int
    seconds: float
    core_seconds: float
    gib_seconds: float
    lab: LabId | None = None
    name: str | None = None
    attempts: int | None = None
    running: bool | None = None
    day: date | None = None
    size: SizeName | None = None
    datalab: Slug | None = None
    started_at: Instant | None = None
    ended_at: Instant | None = None


class UsagePage(Contract):
    """Usage rows with the totals of the whole query."""

    items: list[UsageRow]
    next: str | None = None
    total: UsageRow
    limits: Limits | None = None


class UsageEntry(Contract):
    """One ledger entry: an attempt that ended; times are the scheduler's own."""

    lab_id: LabId
    attempt: int
    owner: Username
    datalab: Slug
    size: SizeName
    cores: float
    memory_mib: int
    started_at: Instant
    ended_at: Instant
    seconds: float


class UsageFact(Contract):
    """Data of `events.usage.<lab id>.recorded`."""

    entry: UsageEntry
    revision: int
    owner: Username
    actor: str
