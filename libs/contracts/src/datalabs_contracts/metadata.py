"""`datalab-meta.yml`: ESA Datalabs' own fields, and ours under `x-datalabs`; and a collection's description file."""

from typing import Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from datalabs_contracts.datalabs import (
    Citation,
    ContainerRuntime,
    IdlePolicy,
    Kind,
    ProcessRuntime,
    Runtime,
    SizeBounds,
    VmRuntime,
)
from datalabs_contracts.ids import CollectionId, SizeName, Slug


class _Meta(BaseModel):
    """ESA's files carry more than we know: other fields are left alone."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


class _Ours(BaseModel):
    """Our own fields: an unknown one is an error, so that a slip is seen."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class MetaContact(_Meta):
    """`contactPoint`."""

    email: str
    id: str = ""
    organisation_name: str = Field(default="", alias="organisation-name")
    role: str = ""


class MetaCreator(_Meta):
    """`creator`."""

    name: str
    logo: str = ""


class MetaDistribution(_Meta):
    """`distribution`."""

    license: str = ""


class MetaDoi(_Meta):
    """`doi`."""

    notation: str = ""


class Extension(_Ours):
    """`x-datalabs`: what ESA's metadata does not say and a launch needs. Seconds and MiB throughout."""

    slug: Slug | None = Field(default=None, description="By default the folder's name.")
    kind: Kind = Kind.NOTEBOOK
    runtimes: list[Runtime] = Field(default_factory=lambda: [Runtime.CONTAINER], min_length=1)
    process: ProcessRuntime | None = None
    container: ContainerRuntime | None = None
    vm: VmRuntime | None = None
    port: int = Field(default=8888, ge=1, le=65535)
    ready_path: str = Field(default="/", pattern="^/")
    ready_secret: bool = False
    open_path: str = Field(default="/", pattern="^/")
    activity: str = Field(default="", pattern="^(jupyter)?$")
    sizes: list[SizeName] = Field(default_factory=list, description="By default all of the site's.")
    default_size: SizeName | None = None
    bounds: SizeBounds = Field(
        default=SizeBounds(), description="What it needs and can use of cores, memory and devices."
    )
    parameters: dict[str, Any] = Field(default_factory=dict, description="A JSON Schema of type object.")
    collections: list[CollectionId] = Field(default_factory=list)
    starters: list[str] = Field(
        default_factory=list, description="Files of the source copied into the home once."
    )
    start_timeout_seconds: float = Field(default=120, gt=0, le=3600)
    stop_seconds: float = Field(default=10, gt=0, le=600)
    lifetime_seconds: float | None = Field(default=None, gt=0)
    idle: IdlePolicy = IdlePolicy()
    packages: list[str] = Field(
        default_factory=list, description="Shown as what is inside; by default the requirements."
    )
    notes: str = ""


class DatalabMeta(_Meta):
    """A whole `datalab-meta.yml`."""

    title: str = Field(min_length=1, max_length=120)
    alternate_name: str = Field(default="", alias="alternateName")
    abstract: str = Field(min_length=1, max_length=600)
    description: str = ""
    contact_point: MetaContact = Field(alias="contactPoint")
    creator: MetaCreator
    version: str | float = Field(description="YAML reads 1.0 as a number; it is taken as the text it was.")
    distribution: MetaDistribution = MetaDistribution()
    instrument: str | list[str] = ""
    mission: str = ""
    thumbnail_url: str = Field(default="", alias="thumbnailUrl")
    keywords: list[str] = Field(default_factory=list)
    citation: str = ""
    funder: str | dict[str, Any] = ""
    doi: MetaDoi = MetaDoi()
    language: str = ""
    domain: str = ""
    extension: Extension = Field(
        default=Extension(), alias="x-datalabs", validation_alias=AliasChoices("x-datalabs", "extension")
    )


class CollectionSource(_Ours):
    """Where one file of a collection comes from: a path inside an installed Python distribution, or in a folder."""

    package: str | None = Field(default=None, description="A distribution as pip names it, with its version.")
    archive: Literal["wheel", "sdist"] = Field(
        default="wheel", description="Which archive of the package has the file; an sdist is never built."
    )
    member: str = Field(
        description="The file's path inside the wheel, inside the sdist's top folder, or inside `folder`."
    )
    folder: str | None = Field(
        default=None, description="A folder beside the description file, or an absolute one."
    )
    path: str = Field(description="The file's path in the collection.")
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)


class CollectionMeta(_Ours):
    """A whole `content/collections/<id>.yml`."""

    id: CollectionId
    title: str
    abstract: str
    description: str = ""
    domain: str = ""
    mission: str = ""
    licence: str
    source: str
    citation: Citation
    files: list[CollectionSource] = Field(min_length=1)
