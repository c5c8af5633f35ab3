"""Examples of the OpenAPI document, made from the contracts' own models so that they cannot go stale unseen."""

from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import BaseModel

from datalabs_contracts.base import Page
from datalabs_contracts.datalabs import (
    Citation,
    Collection,
    Datalab,
    DatalabDetail,
    DatalabPage,
    FacetValue,
    ImportProblem,
    Kind,
    Readiness,
    ReadinessState,
    Runtime,
    Size,
    Version,
)
from datalabs_contracts.labs import (
    Amounts,
    Capacity,
    Fit,
    Lab,
    LabPolicy,
    LabState,
    Limits,
    Logs,
    Metrics,
    Node,
    Nodes,
    NodeState,
    Preflight,
    Progress,
    Queue,
    QueuedLab,
    Sample,
    Timeline,
    TimelinePhase,
    WaitReason,
)
from datalabs_contracts.observations import PartHealth, PlatformHealth, TraceSummary
from datalabs_contracts.people import CreatedPerson, Person, Role
from datalabs_contracts.usage import LimitsBody, PersonLimits, UsagePage, UsageRow
from datalabs_contracts.volumes import Volume, VolumeKind, Volumes
from datalabs_gateway.models import Health, Me, Opened, Provider, ProviderKind, Providers, Site

_NOW = datetime(2026, 11, 22, 12, 4, 31, tzinfo=UTC)
EXAMPLE_TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
_LAB_ID = "k3v9x2mnpq"
_LIMITS = Limits(
    used=Amounts(labs=1, cores=0.5, memory_mib=768), max_labs=4, max_cores=4, max_memory_mib=8192
)
_PERSON_LIMITS = PersonLimits(
    username="ada",
    own=LimitsBody(max_cores=16),
    site=_LIMITS,
    limits=_LIMITS.model_copy(update={"max_cores": 16}),
)
_ME = Me(
    id="0198f1c2-6a55-7c1e-9b1f-0d5a4c0e7c11",
    username="ada",
    display_name="Ada",
    roles=[Role.USER],
    uid=20001,
    limits=_LIMITS,
    session_expires_at=_NOW + timedelta(days=7),
)
_SIZE = Size(name="small", title="Small", cores=0.5, memory_mib=768)
_LAB = Lab(
    id=_LAB_ID,
    name="JupyterLab",
    owner="ada",
    datalab="jupyterlab",
    datalab_title="JupyterLab",
    version="4.6",
    kind=Kind.NOTEBOOK,
    runtime=Runtime.PROCESS,
    size="small",
    cores=0.5,
    memory_mib=768,
    collections=["iers"],
    state=LabState.STARTING,
    phase="PREPARING",
    progress=Progress(
        phase="starting", fraction=0.6, text="The lab has started; waiting for its first answer."
    ),
    attempt=1,
    revision=4,
    created_at=_NOW,
    started_at=_NOW + timedelta(milliseconds=90),
    expires_at=_NOW + timedelta(hours=8),
    trace_id=EXAMPLE_TRACE,
)
_READY = _LAB.model_copy(
    update={
        "state": LabState.READY,
        "phase": "RUNNING",
        "progress": None,
        "revision": 5,
        "ready_at": _NOW + timedelta(milliseconds=520),
    }
)
_STOPPING = _READY.model_copy(update={"state": LabState.STOPPING, "phase": "RELEASING", "revision": 6})
_QUEUED = _LAB.model_copy(
    update={
        "state": LabState.QUEUED,
        "phase": "WAITING",
        "queue_position": 1,
        "expected_start_at": _NOW + timedelta(minutes=12),
        "progress": Progress(phase="queued", text="Needs 8 cores on one node; the largest free is 4"),
    }
)
_POLICY = LabPolicy(owner="ada", idle_minutes=480, changed_at=_NOW, changed_by="admin")
_READINESS = Readiness(
    datalab="jupyterlab", version="4.6", state=ReadinessState.READY, fraction=1, text="Ready", revision=7
)
_DATALAB = Datalab(
    slug="jupyterlab",
    title="JupyterLab",
    abstract="Notebooks with the usual scientific Python packages.",
    kind=Kind.NOTEBOOK,
    domain="astronomy",
    keywords=["python", "notebook"],
    icon_url="/api/v1/datalabs/jupyterlab/icon",
    latest_version="4.6",
    revision=3,
    people=12,
    expected_seconds=0.6,
    readiness=_READINESS,
)
_COLLECTION = Collection(
    id="iers",
    title="Earth orientation parameters",
    abstract="Polar motion, UT1-UTC and leap seconds.",
    domain="geodesy",
    licence="Public domain",
    source="https://www.iers.org/",
    citation=Citation(text="International Earth Rotation and Reference Systems Service."),
    path="/data/iers",
    bytes=3_900_000,
    available=True,
    revision=1,
)
_DETAIL = DatalabDetail(
    **_DATALAB.model_dump(),
    description="# JupyterLab\n\nA notebook beside the data.",
    licence="BSD-3-Clause",
    versions=[
        Version(
            name="4.6",
            published_at=_NOW,
            runtimes=[Runtime.PROCESS],
            sizes=["small"],
            default_size="small",
            parameters_schema={"type": "object", "properties": {}},
            collections=["iers"],
            packages=["numpy", "astropy"],
        )
    ],
    sizes=[_SIZE],
    collections=[_COLLECTION],
)
_PERSON = Person(
    id="0198f1c2-6a55-7c1e-9b1f-0d5a4c0e7c11",
    username="ada",
    display_name="Ada",
    roles=[Role.USER],
    uid=20001,
    revision=1,
    created_at=_NOW,
)
_USED = UsageRow(labs=1, seconds=3600, core_seconds=1800, gib_seconds=2700)


def _json(model: BaseModel) -> Any:
    return model.model_dump(mode="json")


REQUESTS: dict[str, Any] = {
    "signIn": {"username": "ada", "password": "a good long password"},
    "createPerson": {"username": "grace", "roles": ["user"]},
    "launchLab": {"datalab": "jupyterlab", "size": "small", "name": "Orbit determination"},
    "preflightLab": {"datalab": "jupyterlab", "size": "small"},
    "restartLab": {"size": "small"},
    "extendLab": {"seconds": 7200},
    "keepLab": {"until": (_NOW + timedelta(days=2)).isoformat()},
    "prioritiseLab": {"priority": 70},
    "setLabPolicy": {"idle_minutes": 480},
    "setPersonLimits": {"max_labs": 8, "max_cores": 16},
}
"""Request bodies by operation id."""

REPLIES: dict[str, Any] = {
    "signIn": _json(_ME),
    "getMe": _json(_ME),
    "getLimits": _json(_LIMITS),
    "getPersonLimits": _json(_PERSON_LIMITS),
    "setPersonLimits": _json(_PERSON_LIMITS),
    "listImportProblems": _json(
        Page[ImportProblem](
            items=[
                ImportProblem(
                    folder="/srv/datalabs/radio",
                    problem="datalab-meta.yml: `version` is missing.",
                    since=_NOW,
                )
            ]
        )
    ),
    "listProviders": _json(
        Providers(
            site_name="Open Datalabs",
            items=[Provider(id="local", title="User name and password", kind=ProviderKind.PASSWORD)],
        )
    ),
    "getConfig": _json(
        Site(
            name="Open Datalabs",
            version="0.1.0",
            public_url="http://localhost:8080",
            labs_domain="localhost",
            runtimes=[Runtime.PROCESS],
            notices=["Labs run on this machine, as processes."],
            session_expires_at=_NOW + timedelta(days=7),
        )
    ),
    "createPerson": _json(CreatedPerson(person=_PERSON, password="made-and-shown-once")),  # noqa: S106
    "listPeople": _json(Page[Person](items=[_PERSON])),
    "searchDatalabs": _json(
        DatalabPage(
            items=[_DATALAB],
            facets={
                "domain": [FacetValue(value="astronomy", count=1)],
                "kind": [FacetValue(value="notebook", count=1)],
            },
            total=1,
        )
    ),
    "getDatalab": _json(_DETAIL),
    "listSizes": _json(Page[Size](items=[_SIZE])),
    "listCollections": _json(Page[Collection](items=[_COLLECTION])),
    "getCollection": _json(_COLLECTION),
    "preflightLab": _json(
        Preflight(
            fit=Fit.NOW,
            text="Fits now.",
            size=_SIZE,
            runtime=Runtime.PROCESS,
            expected_seconds=0.6,
            expected_phases={"queued": 0.02, "preparing": 0.1, "starting": 0.48},
            limits=_LIMITS,
        )
    ),
    "launchLab": _json(_LAB.model_copy(update={"state": LabState.QUEUED, "phase": "WAITING", "revision": 1})),
    "listLabs": _json(Page[Lab](items=[_READY])),
    "getLab": _json(_LAB),
    "deleteLab": _json(_STOPPING),
    "openLab": _json(Opened(url=f"http://{_LAB_ID}.localhost:8080/.datalabs/enter?code=S2Vw…")),
    "stopLab": _json(_STOPPING),
    "restartLab": _json(_LAB.model_copy(update={"attempt": 2, "revision": 9})),
    "extendLab": _json(_READY),
    "keepLab": _json(_READY.model_copy(update={"kept_until": _NOW + timedelta(days=2)})),
    "prioritiseLab": _json(_QUEUED.model_copy(update={"priority": 70})),
    "getLabPolicy": _json(_POLICY),
    "setLabPolicy": _json(_POLICY),
    "listNodes": _json(
        Nodes(
            items=[
                Node(
                    name="node-1",
                    cluster="nomad",
                    state=NodeState.READY,
                    runtimes=[Runtime.CONTAINER],
                    cores=64,
                    memory_mib=262_144,
                    disk_mib=1_000_000,
                    gpus={"NVIDIA A100": 2},
                    cores_taken=8,
                    memory_taken_mib=32_768,
                    labs=5,
                )
            ]
        )
    ),
    "listQueue": _json(
        Queue(
            items=[
                QueuedLab(
                    lab_id=_LAB_ID,
                    name="JupyterLab",
                    owner="ada",
                    datalab="jupyterlab",
                    version="4.6",
                    size="small",
                    cores=8,
                    memory_mib=8192,
                    disk_mib=2048,
                    priority=50,
                    position=1,
                    reason=WaitReason.CAPACITY,
                    text="Needs 8 cores on one node; the largest free is 4",
                    since=_NOW,
                    expected_start_at=_NOW + timedelta(minutes=12),
                )
            ],
            total=1,
        )
    ),
    "getTimeline": _json(
        Timeline(
            lab_id=_LAB_ID,
            attempt=1,
            trace_id=EXAMPLE_TRACE,
            seconds=0.52,
            phases=[
                TimelinePhase(
                    name="queued", started_at=_NOW, ended_at=_NOW + timedelta(milliseconds=20), seconds=0.02
                )
            ],
            usual={"queued": 0.02, "preparing": 0.1, "starting": 0.48},
        )
    ),
    "getLogs": _json(Logs(lab_id=_LAB_ID, attempt=1, lines=["Serving at http://127.8.3.1:8888/lab"])),
    "getMetrics": _json(
        Metrics(
            lab_id=_LAB_ID,
            samples=[
                Sample(lab_id=_LAB_ID, at=_NOW, cores=0.12, memory_mib=210, max_cores=0.5, max_memory_mib=768)
            ],
        )
    ),
    "listVolumes": _json(
        Volumes(
            items=[
                Volume(
                    id="home-ada",
                    kind=VolumeKind.HOME,
                    owner="ada",
                    name="home",
                    uid=20001,
                    used_bytes=13_314_398_617,
                    quota_bytes=107_374_182_400,
                    measured_at=_NOW,
                    revision=2,
                    created_at=_NOW,
                )
            ]
        )
    ),
    "getCapacity": _json(
        Capacity(
            cores=32,
            memory_mib=24_576,
            cores_taken=1.5,
            memory_taken_mib=2304,
            queued=0,
            runtimes=[Runtime.PROCESS],
        )
    ),
    "getUsage": _json(
        UsagePage(items=[_USED.model_copy(update={"lab": _LAB_ID, "datalab": "jupyterlab"})], total=_USED)
    ),
    "listTraces": _json(
        Page[TraceSummary](
            items=[
                TraceSummary(
                    trace_id=EXAMPLE_TRACE,
                    name="launch",
                    service="dashboard",
                    started_at=_NOW,
                    seconds=0.55,
                    spans=41,
                    errors=0,
                    lab_id=_LAB_ID,
                )
            ]
        )
    ),
    "getPlatform": _json(PlatformHealth(items=[PartHealth(name="launcher", state="ok", seen_at=_NOW)])),
    "getLiveness": _json(Health(status="ok")),
    "getReadiness": _json(Health(status="ok", checks={"nats": "ok", "projection": "ok"})),
}
"""Answers by operation id."""
