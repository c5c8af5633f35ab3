"""What accounting's store gives and takes."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from datalabs_contracts.labs import Amounts, Limits


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One life of a lab: `ended_at` is missing while it runs. Times are the scheduler's own."""

    lab_id: str
    attempt: int
    owner: str
    name: str
    datalab: str
    size: str
    cores: float
    memory_mib: int
    started_at: datetime
    ended_at: datetime | None
    revision: int


@dataclass(frozen=True, kw_only=True)
class Maxima:
    """What somebody may have at once; nothing means no limit."""

    labs: int | None
    cores: float | None
    memory_mib: int | None

    def limits(self, used: Amounts) -> Limits:
        """Return the limits beside what is used."""
        return Limits(used=used, max_labs=self.labs, max_cores=self.cores, max_memory_mib=self.memory_mib)


UNLIMITED = Maxima(labs=None, cores=None, memory_mib=None)


@dataclass(frozen=True, kw_only=True)
class Override:
    """What one person may have other than the site's default; nothing means the default."""

    unlimited: bool = False
    labs: int | None = None
    cores: float | None = None
    memory_mib: int | None = None

    def over(self, default: Maxima) -> Maxima:
        """Return the maxima that hold."""
        if self.unlimited:
            return UNLIMITED
        return Maxima(
            labs=default.labs if self.labs is None else self.labs,
            cores=default.cores if self.cores is None else self.cores,
            memory_mib=default.memory_mib if self.memory_mib is None else self.memory_mib,
        )


@dataclass(frozen=True, kw_only=True)
class Reservation:
    """What one attempt holds of its owner's limits."""

    lab_id: str
    attempt: int


@dataclass(frozen=True, kw_only=True)
class Window:
    """Usage of one owner (nobody named: of all) from `since` to `until`; running labs count up to `now`."""

    owner: str | None
    since: datetime | None
    until: datetime | None
    now: datetime


@dataclass(frozen=True, kw_only=True)
class UsageGroup:
    """One group of usage: `key` is its lab, day, size or datalab; sums are exact to the microsecond."""

    key: str
    labs: int
    attempts: int
    running: bool
    seconds: Decimal
    core_seconds: Decimal
    gib_seconds: Decimal
    started_at: datetime | None
    ended_at: datetime | None
    day: date | None = None
    name: str | None = None
    size: str | None = None
    datalab: str | None = None


@dataclass(frozen=True, kw_only=True)
class Holding:
    """What an owner holds in all, and the owner's own limits."""

    used: Amounts
    override: Override


@dataclass(frozen=True, kw_only=True)
class After:
    """Behind which group a page begins; `started_at` counts for labs only."""

    key: str
    started_at: datetime
