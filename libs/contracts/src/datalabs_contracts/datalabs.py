"""The catalogue: datalabs, their versions, sizes, collections, and what a launch needs to know of them."""

from enum import StrEnum
from typing import Any

from pydantic import Field

from datalabs_contracts.base import Contract, Instant
from datalabs_contracts.ids import CollectionId, SizeName, Slug, VersionName


class Kind(StrEnum):
    """How a lab is reached."""

    NOTEBOOK = "notebook"
    WEB = "web"
    DESKTOP = "desktop"
    BATCH = "batch"


class Runtime(StrEnum):
    """What a lab runs in."""

    PROCESS = "process"
    CONTAINER = "container"
    VM = "vm"


class Size(Contract):
    """A named bundle of resources."""

    name: SizeName
    title: str
    cores: float = Field(gt=0)
    memory_mib: int = Field(gt=0)
    disk_mib: int = Field(default=2048, gt=0)
    gpus: int = Field(default=0, ge=0)
    gpu_name: str | None = None
    node_class: str | None = None


class SizeBounds(Contract):
    """What a datalab needs at least and can use at most; sizes outside are not offered. Memory in MiB."""

    min_cores: float = Field(default=0, ge=0)
    max_cores: float | None = Field(default=None, gt=0)
    min_memory_mib: int = Field(default=0, ge=0)
    max_memory_mib: int | None = Field(default=None, gt=0)
    min_gpus: int = Field(default=0, ge=0)
    max_gpus: int | None = Field(default=None, ge=0)

    def hold(self, size: Size) -> bool:
        """Return whether a size lies within."""
        return (
            self.min_cores <= size.cores <= (self.max_cores or size.cores)
            and self.min_memory_mib <= size.memory_mib <= (self.max_memory_mib or size.memory_mib)
            and self.min_gpus <= size.gpus <= (size.gpus if self.max_gpus is None else self.max_gpus)
        )


class Citation(Contract):
    """How to cite; `text` is ready to copy."""

    text: str
    doi: str | None = None
    url: str | None = None


class Contact(Contract):
    """Whom to ask."""

    name: str = ""
    email: str = ""
    organisation: str = ""


class IdlePolicy(Contract):
    """When an unused lab ends; 0 minutes means never."""

    minutes: int = Field(default=120, ge=0)


class ProcessRuntime(Contract):
    """How a version runs as a process: a uv environment, and a command in it.

    `command` and `environment` may use `{port}`, `{address}`, `{lab_id}`, `{home}`, `{scratch}`, `{data}`, `{source}`
    (the version's own files), `{origin}` (the lab's public origin), `{host}` (that origin's host name), `{python}` (the
    environment's interpreter), `{environment}` (its folder), `{packages}` (where this person's own packages go) and
    `{parameters[name]}`.
    """

    requirements: list[str] = Field(default_factory=list)
    overrides: list[str] = Field(default_factory=list)
    command: list[str]
    environment: dict[str, str] = Field(default_factory=dict)


class ContainerRuntime(Contract):
    """How a version runs as a container.

    `command` and `environment` may use the fields of a process runtime, but for those of a uv environment.
    """

    image: str
    command: list[str] = Field(
        default_factory=list, description="Arguments to the image's entrypoint; by default the image's own."
    )
    environment: dict[str, str] = Field(default_factory=dict)
    read_only: bool = Field(
        default=False,
        description="The image's files cannot be written; /tmp and /run are in memory, home and scratch stay writable.",
    )
    shm_mib: int = Field(
        default=64, ge=1, le=65536, description="Size of /dev/shm in MiB; it counts as memory."
    )
    port: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="The port that the image listens on; unset: the one in DATALABS_PORT.",
    )


class VmRuntime(Contract):
    """How a version runs as a virtual machine."""

    disk: str
    environment: dict[str, str] = Field(default_factory=dict)


class Runtimes(Contract):
    """A version's runtimes; the launcher takes the first of `order` that an adapter offers."""

    order: list[Runtime] = Field(min_length=1)
    process: ProcessRuntime | None = None
    container: ContainerRuntime | None = None
    vm: VmRuntime | None = None


class Version(Contract):
    """One version of a datalab as its page shows it."""

    name: VersionName
    published_at: Instant
    runtimes: list[Runtime]
    sizes: list[SizeName]
    default_size: SizeName
    parameters_schema: dict[str, Any] = Field(default_factory=dict)
    collections: list[CollectionId] = Field(default_factory=list)
    packages: list[str] = Field(default_factory=list)
    notes: str = ""


class ReadinessState(StrEnum):
    """Whether a version can start at once on this site."""

    WAITING = "waiting"
    PREPARING = "preparing"
    READY = "ready"
    FAILED = "failed"
    UNAVAILABLE = "unavailable"


class ImportProblem(Contract):
    """What keeps a folder of the operator's, or a part of it, out of the catalogue."""

    folder: str
    problem: str
    since: Instant = Field(description="Since when it is wrong in just this way.")


class Readiness(Contract):
    """How far the environment or image of a version is prepared."""

    datalab: Slug
    version: VersionName
    state: ReadinessState
    fraction: float = Field(default=0.0, ge=0, le=1)
    text: str = ""
    revision: int = 0


class Datalab(Contract):
    """A catalogue entry as its card shows it."""

    slug: Slug
    title: str
    abstract: str
    kind: Kind
    domain: str
    mission: str = ""
    keywords: list[str] = Field(default_factory=list)
    icon_url: str
    latest_version: VersionName
    revision: int
    people: int = Field(default=0, description="How many people have launched it.")
    expected_seconds: float | None = Field(
        default=None, description="Median time to ready of recent launches."
    )
    readiness: Readiness | None = None


class DatalabDetail(Datalab):
    """A catalogue entry as its page shows it; `description` is Markdown."""

    description: str = ""
    licence: str = ""
    language: str = ""
    creator: str = ""
    contact: Contact = Contact()
    citation: Citation | None = None
    funder: str = ""
    versions: list[Version]
    sizes: list[Size]
    collections: list["Collection"] = Field(default_factory=list)


class FacetValue(Contract):
    """One choice of a facet and how many entries of the current search have it."""

    value: str
    count: int


class DatalabQuery(Contract):
    """A catalogue search; facets of one name are alternatives, of different names are joined."""

    q: str = Field(default="", max_length=200)
    kind: list[Kind] = Field(default_factory=list)
    domain: list[str] = Field(default_factory=list)
    mission: list[str] = Field(default_factory=list)
    keyword: list[str] = Field(default_factory=list)
    limit: int = Field(default=50, ge=1, le=200)
    cursor: str | None = None


class DatalabPage(Contract):
    """A page of the catalogue with the facets of the whole search; `did_you_mean` when nothing matched."""

    items: list[Datalab]
    next: str | None = None
    facets: dict[str, list[FacetValue]]
    total: int
    did_you_mean: str | None = None


class DatalabRef(Contract):
    """One datalab, by slug."""

    slug: Slug


class DatalabIcon(Contract):
    """A datalab's icon: SVG without scripts, at most 64 KiB; `digest` is its SHA-256, fit for an ETag."""

    slug: Slug
    svg: str
    digest: str


class SpecificationQuery(Contract):
    """Ask what a launch of this version with these choices needs."""

    datalab: Slug
    version: VersionName | None = None
    size: SizeName | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
    collections: list[CollectionId] | None = None


class LaunchSpecification(Contract):
    """All that the launcher must know of a version to run it; parameters are filled with their defaults."""

    datalab: Slug
    title: str
    version: VersionName
    kind: Kind
    size: Size
    runtimes: Runtimes
    port: int = 8888
    ready_path: str = "/"
    open_path: str = Field(default="/", description="Where the browser enters; same fields as a command.")
    ready_secret: bool = Field(
        default=False, description="The ready path answers 200 only with the lab's secret."
    )
    activity: str = Field(default="", description="`jupyter` when kernels tell activity, else empty.")
    parameters: dict[str, Any] = Field(default_factory=dict)
    collections: list[CollectionId] = Field(default_factory=list)
    starters: list[str] = Field(
        default_factory=list, description="Files copied into the home once, absolute paths."
    )
    source: str = Field(description="The folder of the version's own files on the launcher's machine.")
    start_timeout_seconds: float = Field(default=120, gt=0)
    stop_seconds: float = Field(
        default=10, gt=0, description="Grace between the request to end and the kill."
    )
    lifetime_seconds: float | None = Field(
        default=None, description="How long it may run; none: the site's rule."
    )
    idle: IdlePolicy = IdlePolicy()


class EnvironmentSpecification(Contract):
    """A version to be prepared ahead of its first launch."""

    datalab: Slug
    version: VersionName
    runtimes: Runtimes
    source: str


class DatalabFact(Contract):
    """Data of `events.datalab.<slug>.<fact>`."""

    datalab: Datalab
    revision: int
    owner: str
    actor: str


class ReadinessFact(Contract):
    """Data of `events.environment.<slug>.<fact>`."""

    readiness: Readiness
    revision: int
    owner: str
    actor: str


class CollectionFile(Contract):
    """One file of a collection, with its SHA-256 in hexadecimal."""

    path: str
    bytes: int
    sha256: str


class Collection(Contract):
    """A read-only data set, mounted at `/data/<id>`."""

    id: CollectionId
    title: str
    abstract: str
    description: str = ""
    domain: str = ""
    mission: str = ""
    licence: str
    source: str
    citation: Citation
    path: str = Field(examples=["/data/iers"])
    bytes: int
    files: list[CollectionFile] = Field(default_factory=list)
    available: bool = False
    message: str = Field(default="", description="Why it is not available.")
    revision: int = 0


class CollectionRef(Contract):
    """One collection, by id."""

    id: CollectionId


class CollectionFact(Contract):
    """Data of `events.collection.<id>.<fact>`."""

    collection: Collection
    revision: int
    owner: str
    actor: str


DatalabDetail.model_rebuild()
