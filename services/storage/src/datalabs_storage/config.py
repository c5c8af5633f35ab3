"""Settings of storage: the section `[storage]` of `datalabs.toml`, or `DATALABS_STORAGE_<NAME>`."""

from datetime import timedelta
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from datalabs_runtime.settings import Settings


class StorageSettings(Settings):
    """Where volumes and collections lie and how they are looked after. Durations are seconds or ISO 8601."""

    section: ClassVar[str] = "storage"

    volumes_folder: Path | None = Field(
        default=None, description="Homes and scratch folders; by default state_folder/volumes."
    )
    collections_folder: Path | None = Field(
        default=None, description="Installed collections; by default state_folder/collections."
    )
    minimum_free_mib: int = Field(
        default=1024,
        ge=0,
        description="With less free disk (MiB) no lab is prepared and nothing is installed.",
    )
    home_mib: int = Field(
        default=0,
        ge=0,
        description="What a home should hold at most (MiB); shown beside its use, never in a launch's way. 0: no bound.",
    )
    measure_every: timedelta = Field(
        default=timedelta(minutes=15),
        description="A measured use older than this is measured anew when asked.",
    )
    measure_at_most: timedelta = Field(
        default=timedelta(seconds=30), description="A volume that takes longer keeps its last figure."
    )
    scan_every: timedelta = Field(
        default=timedelta(seconds=30), description="How often the collections' descriptions are looked at."
    )
    verify_every: timedelta = Field(
        default=timedelta(minutes=10),
        description="How often sizes and times of installed files are compared.",
    )
    retry_first: timedelta = Field(
        default=timedelta(seconds=15),
        description="Wait after a first failed installation; doubles each time.",
    )
    retry_longest: timedelta = Field(
        default=timedelta(minutes=15), description="The longest wait between attempts to install."
    )
    wait_for_collection: timedelta = Field(
        default=timedelta(seconds=2),
        description="How long a lab's preparation waits for a running installation.",
    )
    replaced_kept: timedelta = Field(
        default=timedelta(days=7),
        description="The old files of a collection that was replaced stay this long for labs that mount them.",
    )
    package_index: str | None = Field(
        default=None,
        description="Simple index for packages; by default the one that uv or pip use on this machine, else PyPI.",
    )
    uv: Path | None = Field(default=None, description="The uv program; by default found on PATH.")
    download_mib: int = Field(default=2048, gt=0, description="The largest archive (MiB) that is downloaded.")
