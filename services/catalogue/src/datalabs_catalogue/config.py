"""Settings of the catalogue: the section `[catalogue]` of `datalabs.toml`, or `DATALABS_CATALOGUE_<NAME>`."""

from datetime import timedelta
from pathlib import Path
from typing import ClassVar

from pydantic import Field, model_validator

from datalabs_contracts.datalabs import Size
from datalabs_runtime.settings import Settings


def _usual_sizes() -> list[Size]:
    """Small ones so that twenty JupyterLabs fit on 2 cores and 24 GiB (DESIGN section 6)."""
    return [
        Size(name="small", title="Small", cores=0.5, memory_mib=768, disk_mib=2048),
        Size(name="medium", title="Medium", cores=1, memory_mib=2048, disk_mib=4096),
        Size(name="large", title="Large", cores=2, memory_mib=4096, disk_mib=8192),
    ]


class CatalogueSettings(Settings):
    """What the site offers. The folders with entries are `platform.content`. Durations are seconds or ISO 8601."""

    section: ClassVar[str] = "catalogue"

    sizes: list[Size] = Field(
        default_factory=_usual_sizes, min_length=1, description="The site's sizes, the usual one first."
    )
    scan_every: timedelta = Field(
        default=timedelta(seconds=30), description="How often the folders are looked at for changes."
    )
    sources_folder: Path | None = Field(
        default=None, description="Copies of the versions' files; by default state_folder/catalogue."
    )
    source_mib: int = Field(
        default=64, gt=0, description="The largest datalab (MiB of its own files) that is taken."
    )
    sources_kept: timedelta = Field(
        default=timedelta(days=7),
        description="Files that no version names any more stay this long for labs that run from them.",
    )
    collections_every: timedelta = Field(
        default=timedelta(minutes=5), description="How often the list of collections is fetched anew."
    )

    @model_validator(mode="after")
    def _sizes_have_names_of_their_own(self) -> "CatalogueSettings":
        names = [size.name for size in self.sizes]
        if len(set(names)) != len(names):
            raise ValueError("two sizes have one name")
        return self
