"""Volumes and the mounts of a lab."""

from enum import StrEnum

from pydantic import Field

from datalabs_contracts.base import Contract, Instant
from datalabs_contracts.ids import CollectionId, LabId, Username


class VolumeKind(StrEnum):
    """What a volume is for."""

    HOME = "home"
    TEAM = "team"
    SCRATCH = "scratch"


class Volume(Contract):
    """Storage that labs mount."""

    id: str
    kind: VolumeKind
    owner: Username
    name: str
    uid: int
    used_bytes: int | None = None
    quota_bytes: int | None = None
    measured_at: Instant | None = None
    revision: int
    created_at: Instant


class Mount(Contract):
    """One place in a lab: a folder of this machine at a path inside."""

    source: str
    target: str
    read_only: bool


class PrepareVolumes(Contract):
    """Make all volumes of one attempt ready; repeating it changes nothing."""

    lab_id: LabId
    attempt: int
    owner: Username
    uid: int
    scratch_mib: int
    volumes: list[str] = Field(default_factory=lambda: ["home", "scratch"])
    collections: list[CollectionId] = Field(default_factory=list)
    starters: list[str] = Field(
        default_factory=list, description="Files to copy into the home once, absolute paths."
    )
    starters_name: str = Field(default="", description="The folder of the home that takes them.")
    renew: bool = Field(
        default=False,
        description="The lab's scratch may have been removed after its time: make an empty one.",
    )


class PreparedVolumes(Contract):
    """Where the volumes are."""

    mounts: list[Mount]
    account: str = Field(
        default="",
        description="Folder with the files `passwd` and `group` that name the person inside a container; empty: none.",
    )


class ReleaseVolumes(Contract):
    """Remove the scratch of a lab that was deleted; repeating it changes nothing."""

    lab_id: LabId


class VolumesQuery(Contract):
    """The volumes of one person, measured anew if `measure`."""

    owner: Username
    measure: bool = False


class Volumes(Contract):
    """Somebody's volumes."""

    items: list[Volume]


class VolumeFact(Contract):
    """Data of `events.volume.<id>.<fact>`."""

    volume: Volume
    revision: int
    owner: Username
    actor: str
