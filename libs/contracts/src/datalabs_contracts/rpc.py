"""Commands and queries between services: NATS request/reply on `rpc.<service>.<operation>`."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from datalabs_contracts.base import Contract, Nothing, Page, PageQuery
from datalabs_contracts.datalabs import (
    Collection,
    CollectionRef,
    Datalab,
    DatalabDetail,
    DatalabIcon,
    DatalabPage,
    DatalabQuery,
    DatalabRef,
    EnvironmentSpecification,
    ImportProblem,
    LaunchSpecification,
    Readiness,
    Size,
    SpecificationQuery,
)
from datalabs_contracts.labs import (
    Capacity,
    ExtendLab,
    KeepLab,
    Lab,
    LabPolicy,
    LabPolicyQuery,
    LabRef,
    LabsQuery,
    LaunchLab,
    Limits,
    Logs,
    LogsQuery,
    Metrics,
    Nodes,
    Preflight,
    PrioritiseLab,
    Queue,
    RestartLab,
    Route,
    SetLabPolicy,
    StopLab,
    Timeline,
    TimelineQuery,
)
from datalabs_contracts.observations import (
    DeadLetter,
    DeadLetterRef,
    DeadLettersQuery,
    EventsQuery,
    PlatformHealth,
    Span,
    StoredEvent,
    TraceQuery,
    TracesQuery,
    TraceSummary,
)
from datalabs_contracts.people import (
    CreatedPerson,
    CreatePerson,
    EndSession,
    PeopleQuery,
    Person,
    PersonQuery,
    ResolveSession,
    Session,
    SignedIn,
    SignInAttempt,
)
from datalabs_contracts.usage import (
    LimitsQuery,
    PersonLimits,
    Release,
    Reserve,
    SetLimits,
    UsagePage,
    UsageQuery,
)
from datalabs_contracts.volumes import PreparedVolumes, PrepareVolumes, ReleaseVolumes, Volumes, VolumesQuery

HEADER_DEADLINE = "datalabs-deadline"
"""Milliseconds since 1970 after which nobody waits for the reply."""
HEADER_ASSERTION = "datalabs-assertion"
"""The identity assertion, an ES256 JWT."""
HEADER_REQUEST = "datalabs-request"
"""A random id of the request, by which it can be cancelled on `rpc.<service>.cancel`."""
HEADER_PROBLEM = "datalabs-problem"
"""`1` on a reply that is a problem document."""

RequestT = TypeVar("RequestT", bound=Contract)
ReplyT = TypeVar("ReplyT", bound=Contract)


@dataclass(frozen=True, kw_only=True)
class Operation(Generic[RequestT, ReplyT]):
    """One operation of one service; `repeatable` when a lost reply may be answered by asking again."""

    service: str
    name: str
    request: type[RequestT]
    reply: type[ReplyT]
    summary: str
    callers: tuple[str, ...]
    repeatable: bool = True

    @property
    def subject(self) -> str:
        """The NATS subject."""
        return f"rpc.{self.service}.{self.name}"


def _operation(  # noqa: PLR0917 - a table reads best in columns
    path: str,
    request: type[RequestT],
    reply: type[ReplyT],
    callers: str,
    summary: str,
    repeatable: bool = True,  # noqa: FBT001, FBT002
) -> Operation[RequestT, ReplyT]:
    service, name = path.split(".")
    return Operation(
        service=service,
        name=name,
        request=request,
        reply=reply,
        summary=summary,
        callers=tuple(callers.split()),
        repeatable=repeatable,
    )


# auth
SIGN_IN = _operation(
    "auth.sign_in", SignInAttempt, SignedIn, "gateway", "Check a password and start a session.", False
)
RESOLVE_SESSION = _operation(
    "auth.resolve_session", ResolveSession, Session, "gateway", "Whose session is this cookie?"
)
END_SESSION = _operation("auth.end_session", EndSession, Nothing, "gateway", "Sign out.")
CREATE_PERSON = _operation(
    "auth.create_person", CreatePerson, CreatedPerson, "gateway", "Make an account.", False
)
LIST_PEOPLE = _operation("auth.list_people", PeopleQuery, Page[Person], "gateway", "Accounts by name.")
GET_PERSON = _operation("auth.get_person", PersonQuery, Person, "gateway launcher storage", "One account.")

# catalogue
SEARCH_DATALABS = _operation(
    "catalogue.search_datalabs", DatalabQuery, DatalabPage, "gateway", "Search the catalogue."
)
GET_DATALAB = _operation(
    "catalogue.get_datalab", DatalabRef, DatalabDetail, "gateway", "One datalab with its versions."
)
GET_ICON = _operation("catalogue.get_icon", DatalabRef, DatalabIcon, "gateway", "A datalab's icon.")
LIST_DATALABS = _operation(
    "catalogue.list_datalabs", PageQuery, Page[Datalab], "gateway", "All entries, for projections."
)
GET_SPECIFICATION = _operation(
    "catalogue.get_specification", SpecificationQuery, LaunchSpecification, "launcher",
    "What a launch with these choices needs; refuses unknown names and unfit parameters.",
)  # fmt: skip
LIST_ENVIRONMENTS = _operation(
    "catalogue.list_environments",
    PageQuery,
    Page[EnvironmentSpecification],
    "launcher",
    "All versions to prepare.",
)
LIST_SIZES = _operation(
    "catalogue.list_sizes", PageQuery, Page[Size], "gateway launcher", "The site's sizes."
)
LIST_IMPORT_PROBLEMS = _operation(
    "catalogue.list_import_problems",
    PageQuery,
    Page[ImportProblem],
    "gateway",
    "Folders that could not be read into the catalogue, for operators.",
)

# storage
PREPARE_VOLUMES = _operation(
    "storage.prepare_volumes", PrepareVolumes, PreparedVolumes, "launcher", "Mounts for one attempt."
)
RELEASE_VOLUMES = _operation(
    "storage.release_volumes", ReleaseVolumes, Nothing, "launcher", "Remove a lab's scratch."
)
LIST_VOLUMES = _operation("storage.list_volumes", VolumesQuery, Volumes, "gateway", "Somebody's volumes.")
LIST_COLLECTIONS = _operation(
    "storage.list_collections", PageQuery, Page[Collection], "gateway catalogue", "All collections."
)
GET_COLLECTION = _operation(
    "storage.get_collection", CollectionRef, Collection, "gateway", "One collection with its files."
)

# launcher
LAUNCH_LAB = _operation(
    "launcher.launch_lab", LaunchLab, Lab, "gateway", "Launch; a key makes it repeatable.", False
)
PREFLIGHT = _operation(
    "launcher.preflight", LaunchLab, Preflight, "gateway", "Would it fit, how long would it take?"
)
GET_LAB = _operation("launcher.get_lab", LabRef, Lab, "gateway", "One lab.")
LIST_LABS = _operation(
    "launcher.list_labs",
    LabsQuery,
    Page[Lab],
    "gateway accounting observer standalone",
    "Labs, newest first.",
)
STOP_LAB = _operation("launcher.stop_lab", StopLab, Lab, "gateway standalone", "End a lab.")
RESTART_LAB = _operation(
    "launcher.restart_lab", RestartLab, Lab, "gateway", "A new attempt of an ended lab.", False
)
EXTEND_LAB = _operation("launcher.extend_lab", ExtendLab, Lab, "gateway", "Move the expiry.")
KEEP_LAB = _operation("launcher.keep_lab", KeepLab, Lab, "gateway", "Keep a lab for a long run.")
PRIORITISE_LAB = _operation(
    "launcher.prioritise_lab", PrioritiseLab, Lab, "gateway", "Move a lab in the queue; for operators."
)
LIST_NODES = _operation(
    "launcher.list_nodes", Nothing, Nodes, "gateway", "All machines and what is taken of them; for operators."
)
LIST_QUEUE = _operation(
    "launcher.list_queue", PageQuery, Queue, "gateway", "Who waits, why and since when; for operators."
)
GET_LAB_POLICY = _operation(
    "launcher.get_lab_policy", LabPolicyQuery, LabPolicy, "gateway", "The rules of one person's labs."
)
SET_LAB_POLICY = _operation(
    "launcher.set_lab_policy", SetLabPolicy, LabPolicy, "gateway", "Change them; for operators."
)
DELETE_LAB = _operation("launcher.delete_lab", LabRef, Lab, "gateway", "Stop, then hide.")
GET_TIMELINE = _operation(
    "launcher.get_timeline", TimelineQuery, Timeline, "gateway", "The phases of an attempt."
)
GET_LOGS = _operation("launcher.get_logs", LogsQuery, Logs, "gateway", "The last log lines of an attempt.")
GET_METRICS = _operation("launcher.get_metrics", LabRef, Metrics, "gateway", "Recent samples of a lab.")
GET_ROUTE = _operation("launcher.get_route", LabRef, Route, "gateway", "Where a live lab answers.")
GET_CAPACITY = _operation("launcher.get_capacity", Nothing, Capacity, "gateway", "What the cluster has left.")
LIST_READINESS = _operation(
    "launcher.list_readiness", PageQuery, Page[Readiness], "gateway", "How far environments are."
)

# accounting
RESERVE = _operation(
    "accounting.reserve", Reserve, Limits, "launcher", "Reserve against limits, in one step."
)
RELEASE = _operation("accounting.release", Release, Nothing, "launcher", "Free a reservation.")
GET_LIMITS = _operation(
    "accounting.get_limits", LimitsQuery, Limits, "gateway launcher", "Limits and what is used."
)
GET_PERSON_LIMITS = _operation(
    "accounting.get_person_limits",
    LimitsQuery,
    PersonLimits,
    "gateway",
    "One person's limits, for operators.",
)
SET_LIMITS = _operation(
    "accounting.set_limits", SetLimits, PersonLimits, "gateway", "Set what one person may have."
)
GET_USAGE = _operation("accounting.get_usage", UsageQuery, UsagePage, "gateway", "The ledger, grouped.")

# observer
LIST_EVENTS = _operation("observer.list_events", EventsQuery, Page[StoredEvent], "gateway", "Stored events.")
GET_TRACE = _operation("observer.get_trace", TraceQuery, Page[Span], "gateway", "The spans of a trace.")
LIST_TRACES = _operation("observer.list_traces", TracesQuery, Page[TraceSummary], "gateway", "Recent traces.")
LIST_DEAD_LETTERS = _operation(
    "observer.list_dead_letters", DeadLettersQuery, Page[DeadLetter], "gateway", "Dead letters."
)
REPLAY_DEAD_LETTER = _operation(
    "observer.replay_dead_letter", DeadLetterRef, DeadLetter, "gateway", "Publish it again.", False
)
GET_HEALTH = _operation("observer.get_health", Nothing, PlatformHealth, "gateway", "All parts.")

OPERATIONS: tuple[Operation[Contract, Contract], ...] = tuple(
    value for value in list(globals().values()) if isinstance(value, Operation)
)
"""Every operation, for permissions, documents and tests."""

SERVICES: tuple[str, ...] = ("auth", "catalogue", "storage", "launcher", "accounting", "gateway", "observer")

STANDALONE = "standalone"
"""The name under which the one-machine supervisor calls operations: it stops labs before it stops the platform."""
