"""Settings of accounting: the section `[accounting]` of `datalabs.toml`, or `DATALABS_ACCOUNTING_<NAME>`."""

from datetime import timedelta
from typing import ClassVar

from pydantic import Field

from datalabs_runtime.settings import Settings


class AccountingSettings(Settings):
    """What a person may have at once, and how reservations are checked. Durations are seconds or ISO 8601."""

    section: ClassVar[str] = "accounting"

    max_labs: int = Field(default=6, ge=1, description="Labs that a person may have at once.")
    max_cores: float = Field(default=8, gt=0, description="Cores of all labs that a person has at once.")
    max_memory_mib: int = Field(
        default=16_384, gt=0, description="Memory in MiB of all labs that a person has at once."
    )
    reconcile_every: timedelta = Field(
        default=timedelta(minutes=1),
        description="How often reservations are compared with the labs that live.",
    )
    reconcile_grace: timedelta = Field(
        default=timedelta(seconds=90),
        ge=timedelta(seconds=60),
        description="A reservation this young is never freed: its lab may not be stored yet.",
    )
