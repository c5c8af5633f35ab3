"""What is true of a job, read from what Nomad says of it and its allocations. Pure.

A job of ours has one allocation. Should Nomad ever place it again (after preemption or a drain) the first one tells the
lab's story, and the job has not ended while anything of it remains.
"""

import re
import signal as signals
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from datalabs_launcher.nomad import words
from datalabs_launcher.nomad.tasks import MAIN, PORT
from datalabs_launcher.scheduler import JobEnd, JobState, Observation, Step

Document = Mapping[str, Any]
OVER = {"complete", "failed", "lost"}
JOB_ID = re.compile(r"^lab-(?P<lab>[a-z0-9]+)-(?P<attempt>\d+)$")
SIGNALS = range(129, 129 + 64)
"""Exit codes by which a container's init tells that a signal killed the lab: 128 and the signal's number."""
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_DURATION = re.compile(r"([0-9.]+)(ms|h|m|s)")
"""A duration as Go writes it."""
FAILURES = {"Driver Failure", "Setup Failure", "Failed Artifact Download", "Failed Validation"}
PREEMPTED = "preempted"
KILL = "SIGKILL"


@dataclass
class Known:
    """What is known of one job: its own document or stub, its allocations by id, what its evaluation said."""

    job_id: str
    meta: dict[str, str] = field(default_factory=dict)
    status: str = "pending"
    stop: bool = False
    modified: int = 0
    changed_at: datetime | None = None
    submitted_at: datetime | None = None
    allocations: dict[str, Document] = field(default_factory=dict)
    said_at: datetime | None = None
    waits: str = ""
    gone: bool = False

    @property
    def lab_id(self) -> str:
        """The lab, told by Meta or by the job's id."""
        found = JOB_ID.match(self.job_id)
        return self.meta.get("datalabs_lab") or (found["lab"] if found else "")

    @property
    def attempt(self) -> int:
        """The attempt, told likewise."""
        found = JOB_ID.match(self.job_id)
        return int(self.meta.get("datalabs_attempt") or (found["attempt"] if found else 0))

    @property
    def node(self) -> str:
        """The id of the node to which it is bound; empty when any may have it."""
        return self.meta.get("datalabs_node", "")

    @property
    def says(self) -> bool:
        """Whether there is a guest in it that says when it is ready."""
        return self.meta.get("datalabs_says_ready") == "true"

    @property
    def newest_first(self) -> list[Document]:
        """The allocations, the first one placed last."""
        return sorted(self.allocations.values(), key=lambda one: one.get("CreateIndex", 0), reverse=True)

    @property
    def first(self) -> Document | None:
        """The allocation that is the lab."""
        placed = self.newest_first
        return placed[-1] if placed else None

    @property
    def placed_again(self) -> bool:
        """Whether Nomad placed the job more than once: it may not run then."""
        return len(self.allocations) > 1 and not self.stop

    @property
    def alive(self) -> bool:
        """Whether something of it may run."""
        return any(one.get("ClientStatus") not in OVER for one in self.allocations.values())


def instant(text: str | None) -> datetime | None:
    """Return a time of Nomad's, which counts nanoseconds, as ours."""
    if not text or text.startswith("0001-"):
        return None
    whole, _, rest = text.removesuffix("Z").partition(".")
    micro = (rest + "000000")[:6] if rest.isdigit() else "000000"
    return datetime.fromisoformat(f"{whole}.{micro}+00:00")


def moment(nanoseconds: int | None) -> datetime | None:
    """Return nanoseconds since 1970 as a time."""
    return datetime.fromtimestamp(nanoseconds / 1e9, tz=UTC) if nanoseconds else None


def observe(known: Known, *, now: datetime, lost_after: timedelta, early: Container[str] = ()) -> Observation:
    """Return what is true of a job; `early` are the ids of nodes where a port may be asked before its lab is there."""
    first = known.first
    if first is None:
        return _unplaced(known, now)
    task = _task(first)
    started = instant(task.get("StartedAt"))
    port = _port(first)
    end = _end(known, first, task, now=now, lost_after=lost_after)
    if end is not None:
        state = JobState.ENDED
    elif first.get("ClientStatus") == "unknown":
        state = JobState.UNKNOWN
    elif started is not None and task.get("State") == "running":
        state = JobState.RUNNING
    else:
        state = JobState.PENDING if started is None else JobState.RUNNING
    return Observation(
        job_id=known.job_id,
        lab_id=known.lab_id,
        attempt=known.attempt,
        state=state,
        steps=(*_steps(known, first), *_boot(known, started)),
        started_at=started,
        address=port.get("HostIP") or None,
        port=port.get("Value"),
        node=first.get("NodeName"),
        ready=known.said_at is not None if known.says else None,
        early=state is JobState.PENDING and bool(port) and first.get("NodeID") in early,
        end=end,
    )


def _boot(known: Known, started: datetime | None) -> list[Step]:
    """Return the start of a guest, which takes longer than all that the cluster does."""
    if not known.says or started is None:
        return []
    text = "The machine started" if known.said_at else "The machine is starting"
    return [Step(name="boot", started_at=started, ended_at=known.said_at, text=text)]


def _unplaced(known: Known, now: datetime) -> Observation:
    """Return what is true of a job that no machine has taken."""
    over = known.status == "dead"
    at = known.changed_at or known.submitted_at or now
    waits = known.waits or "Waiting for a machine"
    begun = known.submitted_at or now
    return Observation(
        job_id=known.job_id,
        lab_id=known.lab_id,
        attempt=known.attempt,
        state=JobState.ENDED if over else JobState.PENDING,
        steps=() if over else (Step(name="waiting", started_at=begun, text=waits),),
        end=JobEnd(ended_at=at, exit_code=None, asked=True, text="It never was on a machine.")
        if over
        else None,
    )


def _task(allocation: Document) -> Document:
    states = allocation.get("TaskStates") or {}
    found: Document = states.get(MAIN) or {}
    return found


def _port(allocation: Document) -> Document:
    shared = (allocation.get("AllocatedResources") or {}).get("Shared") or {}
    ports: Sequence[Document] = shared.get("Ports") or []
    return next((port for port in ports if port.get("Label") == PORT), {})


def _end(
    known: Known, allocation: Document, task: Document, *, now: datetime, lost_after: timedelta
) -> JobEnd | None:
    """Return how it ended; None while anything of it may run."""
    status = allocation.get("ClientStatus")
    changed = moment(allocation.get("ModifyTime")) or now
    if status in {"unknown", "lost"}:
        since = _unknown_since(allocation) or changed
        if status == "unknown" and now - since < lost_after:
            return None
        text = f"Nothing was heard of the machine {allocation.get('NodeName')} any more."
        return JobEnd(ended_at=since, exit_code=None, node_lost=True, text=text)
    if known.alive or status not in OVER:
        return None
    finished = max(
        (
            time
            for state in (allocation.get("TaskStates") or {}).values()
            if (time := instant(state.get("FinishedAt")))
        ),
        default=changed,
    )
    finished = instant(task.get("FinishedAt")) or finished
    return _ended(known, allocation, task, finished)


def _unknown_since(allocation: Document) -> datetime | None:
    for state in reversed(allocation.get("AllocStates") or []):
        if state.get("Field") == "clientStatus" or state.get("Field") == "ClientStatus":
            return instant(state.get("Time")) if state.get("Value") == "unknown" else None
    return None


def _ended(known: Known, allocation: Document, task: Document, at: datetime) -> JobEnd:
    events: Sequence[Document] = task.get("Events") or []
    terminated = next((one for one in reversed(events) if one.get("Type") == "Terminated"), None)
    killing = next((position for position, one in enumerate(events) if _kills(one, stopped=known.stop)), None)
    asked = killing is not None and (terminated is None or events.index(terminated) > killing)
    text, blame = _cause(known, allocation, events)
    asked = asked or (terminated is None and not text and (known.stop or _ended_by_nomad(allocation)))
    details: Document = (terminated or {}).get("Details") or {}
    code = int(details["exit_code"]) if "exit_code" in details else None
    signal = int(details.get("signal") or 0) or None
    if signal is None and code is not None and code in SIGNALS:
        signal = code - 128
    if known.meta.get("datalabs_runtime") == "vm" and _by_force(events):
        code, signal = None, signals.SIGKILL.value
    if not blame and asked and not known.stop:
        text, blame = _somebody_elses_wish(allocation)
    return JobEnd(
        ended_at=at,
        exit_code=code,
        signal=signal,
        out_of_memory=details.get("oom_killed") == "true",
        disk_full=any(one.get("Type") == "Disk Resources Exceeded" for one in events),
        image_unavailable=blame == words.IMAGE,
        volume_unavailable=blame == words.VOLUME,
        preempted=blame == PREEMPTED,
        asked=asked,
        text=text,
    )


def _kills(event: Document, *, stopped: bool) -> bool:
    """Return whether an event is an end that was asked for: Nomad's, or ours when the node had not heard of the stop."""
    ours = event.get("Type") == "Signaling" and (event.get("Details") or {}).get("signal") == KILL
    return event.get("Type") == "Killing" or (stopped and ours)


def _by_force(events: Sequence[Document]) -> bool:
    """Return whether Nomad waited its whole kill time: of a machine that was killed then it says that it exited with 0."""
    times = {one.get("Type"): one.get("Time") or 0 for one in events}
    told = next((one.get("Details") or {} for one in events if one.get("Type") == "Killing"), None)
    if told is None or "Terminated" not in times:
        return False
    patience = sum(
        float(number) * _UNITS[unit] for number, unit in _DURATION.findall(told.get("kill_timeout", ""))
    )
    return patience > 0 and (times["Terminated"] - times["Killing"]) / 1e9 >= patience


def _ended_by_nomad(allocation: Document) -> bool:
    return allocation.get("DesiredStatus") in {"stop", "evict"}


def _somebody_elses_wish(allocation: Document) -> tuple[str, str]:
    """Return why Nomad ended a lab that nobody of ours wanted to end, and whose doing it was."""
    if allocation.get("PreemptedByAllocation") or allocation.get("DesiredStatus") == "evict":
        return "", PREEMPTED
    if (allocation.get("DesiredTransition") or {}).get("Migrate"):
        return f"The machine {allocation.get('NodeName')} was emptied.", ""
    return "", ""


def _cause(known: Known, allocation: Document, events: Sequence[Document]) -> tuple[str, str]:
    """Return what the driver said went wrong, and what was to blame when it was not the lab itself."""
    if any(one.get("Type") == "Started" for one in events):
        return "", ""
    states = (allocation.get("TaskStates") or {}).values()
    for event in (one for state in states for one in state.get("Events") or []):
        if event.get("Type") in FAILURES:
            said = str(event.get("DisplayMessage") or event.get("Type"))
            blame, text = words.failure_of(said, image=known.meta.get("datalabs_image", ""))
            return text, blame
    return "", ""


_TEXTS = {
    "Received": ("accepted", "The machine took it"),
    "Task Setup": ("setup", "Making its place"),
    "Downloading Artifacts": ("files", "Fetching its files"),
    "Started": ("started", "Started"),
    "Killing": ("stopping", "Asked to end"),
    "Terminated": ("ended", "Ended"),
}


def _steps(known: Known, allocation: Document) -> list[Step]:
    """Return what the cluster did, with its own times: each step lasts until the next one begins."""
    task = _task(allocation)
    marks: list[tuple[datetime, str, str]] = []
    placed = moment(allocation.get("CreateTime"))
    if known.submitted_at is not None and placed is not None:
        marks.append((min(known.submitted_at, placed), "placing", "Finding a machine"))
    for event in task.get("Events") or []:
        at = moment(event.get("Time"))
        if at is None:
            continue
        if event.get("Type") == "Driver":
            image = (event.get("Details") or {}).get("image", "")
            marks.append((at, "image", f"Fetching the image {image}".rstrip()))
        elif event.get("Type") in _TEXTS:
            name, text = _TEXTS[event["Type"]]
            node = allocation.get("NodeName")
            marks.append((at, name, f"{node} took it" if name == "accepted" and node else text))
    marks.sort(key=lambda one: one[0])
    steps: list[Step] = []
    for position, (at, name, text) in enumerate(marks):
        instantaneous = name in {"started", "ended"}
        until = marks[position + 1][0] if position + 1 < len(marks) else None
        steps.append(Step(name=name, started_at=at, ended_at=at if instantaneous else until, text=text))
    return steps
