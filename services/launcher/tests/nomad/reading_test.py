"""What is read from Nomad's words: states, ends, reasons, machines, figures. The documents are as the agent 2.0.5 gives them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from datalabs_contracts.datalabs import Runtime
from datalabs_contracts.labs import NodeState
from datalabs_launcher.nomad import nodes, readings, words
from datalabs_launcher.nomad.config import NomadSettings
from datalabs_launcher.nomad.observing import Known, observe
from datalabs_launcher.nomad.stream import Event
from datalabs_launcher.nomad.view import View
from datalabs_launcher.scheduler import JobState, Observation

AT = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
LOST_AFTER = timedelta(minutes=10)
JOB = "lab-k3v9x2abcd-01"


def ns(seconds: float = 0.0) -> int:
    return int((AT + timedelta(seconds=seconds)).timestamp() * 1e9)


def iso(seconds: float = 0.0) -> str:
    return f"{AT + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%S.%f}123Z"


def event(kind: str, at: float, text: str = "", **details: str) -> dict[str, Any]:
    return {"Type": kind, "Time": ns(at), "DisplayMessage": text, "Details": details}


BEGUN = [event("Received", 0.1), event("Task Setup", 0.2), event("Started", 0.6)]


def allocation(status: str, *events: dict[str, Any], **changes: Any) -> dict[str, Any]:
    started = any(one["Type"] == "Started" for one in events)
    over = status in {"complete", "failed"}
    return {
        "ID": "a1",
        "JobID": JOB,
        "NodeID": "n1",
        "NodeName": "node-1",
        "ClientStatus": status,
        "DesiredStatus": "run",
        "CreateIndex": 10,
        "ModifyIndex": 12,
        "CreateTime": ns(0.05),
        "ModifyTime": ns(5),
        "AllocatedResources": {
            "Shared": {"Ports": [{"Label": "lab", "Value": 20123, "To": 20123, "HostIP": "10.0.0.7"}]}
        },
        "TaskStates": {
            "main": {
                "State": "dead" if over else "running" if started else "pending",
                "StartedAt": iso(0.6) if started else None,
                "FinishedAt": iso(4) if over else None,
                "Events": list(events),
            }
        },
        **changes,
    }


def seen(*allocations: dict[str, Any], now: float = 10.0, **known: Any) -> Observation:
    job = Known(JOB, submitted_at=AT, **known)
    job.allocations = {one["ID"]: one for one in allocations}
    return observe(job, now=AT + timedelta(seconds=now), lost_after=LOST_AFTER, early={"n1"})


def test_a_start_step_by_step() -> None:
    found = seen(allocation("running", *BEGUN))
    assert (found.state, found.lab_id, found.attempt, found.node) == (
        JobState.RUNNING,
        "k3v9x2abcd",
        1,
        "node-1",
    )
    assert (found.address, found.port, found.early) == ("10.0.0.7", 20123, False)
    assert found.started_at == AT + timedelta(seconds=0.6)
    assert [(one.name, one.text) for one in found.steps] == [
        ("placing", "Finding a machine"),
        ("accepted", "node-1 took it"),
        ("setup", "Making its place"),
        ("started", "Started"),
    ]
    assert found.steps[2].ended_at == found.started_at


def test_what_is_placed_may_be_asked_early_where_that_is_cheap() -> None:
    found = seen(allocation("pending", *BEGUN[:2]))
    assert (found.state, found.early, found.port) == (JobState.PENDING, True, 20123)
    assert not seen(allocation("pending", *BEGUN[:2], NodeID="n2")).early


def test_an_image_on_its_way_is_a_step() -> None:
    found = seen(allocation("pending", *BEGUN[:2], event("Driver", 0.3, "Downloading image", image="x/y:1")))
    assert found.steps[-1].text == "Fetching the image x/y:1"
    assert found.steps[-1].ended_at is None


def test_a_guest_is_ready_when_it_says_so() -> None:
    says = {"datalabs_says_ready": "true"}
    boots = seen(allocation("running", *BEGUN), meta=says)
    assert (boots.state, boots.ready) == (JobState.RUNNING, False)
    assert (boots.steps[-1].name, boots.steps[-1].text) == ("boot", "The machine is starting")
    assert boots.steps[-1].started_at == boots.started_at
    up = seen(allocation("running", *BEGUN), meta=says, said_at=AT + timedelta(seconds=9))
    assert up.ready is True
    assert up.steps[-1].ended_at == AT + timedelta(seconds=9)
    assert seen(allocation("running", *BEGUN)).ready is None


def test_a_guests_words_are_no_log() -> None:
    complained = b"qemu: something\nready\nbusy 12\nbusy as ever\nalready\n"
    assert readings.says_ready(complained)
    assert not readings.says_ready(b"busy 12\nalready\n")
    assert readings.without_words(complained) == b"qemu: something\nbusy as ever\nalready\n"


def test_what_nomad_may_have_missed_is_said() -> None:
    quick = [event("Received", 0.1), event("Started", 3.8)]
    short = seen(brief("failed", *quick, TERMINATED))
    assert readings.may_be_missed(short)
    assert not readings.may_be_missed(seen(allocation("failed", *BEGUN, TERMINATED)))
    asked = seen(brief("complete", *quick, KILLING, TERMINATED))
    assert not readings.may_be_missed(asked)
    lines, more = readings.log_lines(b"a\nb\nc\n", b"", lines=3, missed=True)
    assert (lines, more) == (["b", "c", readings.MISSED], True)


def brief(status: str, *events: dict[str, Any]) -> dict[str, Any]:
    """Return an allocation of a life of 0.2 s."""
    made = allocation(status, *events)
    made["TaskStates"]["main"]["StartedAt"] = iso(3.8)
    return made


TERMINATED = event("Terminated", 4, exit_code="137", signal="0", oom_killed="false")
KILLING = event("Killing", 3)


@pytest.mark.parametrize(
    ("document", "known", "expected"),
    [
        (allocation("failed", *BEGUN, TERMINATED), {}, {"exit_code": 137, "signal": 9, "asked": False}),
        (allocation("complete", *BEGUN, KILLING, TERMINATED), {"stop": True}, {"signal": 9, "asked": True}),
        (
            allocation("failed", *BEGUN, event("Signaling", 3, signal="SIGKILL"), TERMINATED),
            {"stop": True},
            {"signal": 9, "asked": True},
        ),
        (
            allocation("failed", *BEGUN, event("Terminated", 2, exit_code="3", oom_killed="false"), KILLING),
            {"stop": True},
            {"exit_code": 3, "asked": False},
        ),
        (
            allocation("failed", *BEGUN, event("Terminated", 4, exit_code="137", oom_killed="true")),
            {},
            {"out_of_memory": True},
        ),
        (
            allocation("failed", *BEGUN, event("Disk Resources Exceeded", 3), TERMINATED),
            {},
            {"disk_full": True},
        ),
        (
            allocation("failed", event("Driver Failure", 1, "Failed to pull `x:1`: no such host")),
            {"meta": {"datalabs_image": "x:1"}},
            {"image_unavailable": True, "asked": False, "text": "The image x:1 cannot be used: no such host"},
        ),
        (
            allocation(
                "failed", event("Driver Failure", 1, "bind source path does not exist: /srv/home/ada")
            ),
            {},
            {"volume_unavailable": True, "asked": False},
        ),
        (
            allocation("complete", *BEGUN, KILLING, TERMINATED, DesiredStatus="evict"),
            {},
            {"preempted": True, "asked": True},
        ),
        (
            allocation("complete", *BEGUN, KILLING, TERMINATED, DesiredTransition={"Migrate": True}),
            {},
            {"preempted": False, "asked": True, "text": "The machine node-1 was emptied."},
        ),
        (allocation("lost", *BEGUN), {}, {"node_lost": True}),
    ],
)
def test_how_it_ended(document: dict[str, Any], known: dict[str, Any], expected: dict[str, Any]) -> None:
    found = seen(document, **known)
    assert found.state is JobState.ENDED
    assert {name: getattr(found.end, name) for name in expected} == expected


def test_a_silent_machine_is_waited_for_and_then_lost() -> None:
    states = [{"Field": "ClientStatus", "Value": "unknown", "Time": iso(30)}]
    silent = allocation("unknown", *BEGUN, AllocStates=states)
    assert seen(silent, now=60).state is JobState.UNKNOWN
    assert seen(silent, now=629).state is JobState.UNKNOWN
    found = seen(silent, now=631)
    assert found.state is JobState.ENDED
    assert found.end is not None
    assert (found.end.node_lost, found.end.ended_at) == (True, AT + timedelta(seconds=30, microseconds=0))
    assert "node-1" in found.end.text


def test_what_is_placed_twice_has_not_ended_while_one_runs() -> None:
    over = allocation("complete", *BEGUN, KILLING, TERMINATED, DesiredStatus="evict")
    again = allocation("running", *BEGUN, ID="a2", CreateIndex=20)
    assert seen(over, again).state is not JobState.ENDED
    assert Known(JOB, allocations={"a1": over, "a2": again}).placed_again
    gone = {**again, "ClientStatus": "complete"}
    found = seen(over, gone)
    assert found.end is not None
    assert found.end.preempted


def test_what_waits_says_for_what() -> None:
    found = seen(waits="Waiting for a machine: one machine has not enough memory free")
    assert (found.state, found.steps[-1].text) == (
        JobState.PENDING,
        "Waiting for a machine: one machine has not enough memory free",
    )
    assert seen(status="dead").state is JobState.ENDED


@pytest.mark.parametrize(
    ("metric", "text"),
    [
        ({"NodesEvaluated": 0}, "No machine takes labs now"),
        (
            {"NodesEvaluated": 1, "DimensionExhausted": {"memory": 1}},
            "Waiting for a machine: one machine has not enough memory free",
        ),
        (
            {
                "NodesEvaluated": 3,
                "DimensionExhausted": {"cpu": 2},
                "ConstraintFiltered": {"missing devices": 1},
            },
            "Waiting for a machine: one machine has no such device, 2 machines have not enough cores free",
        ),
        (
            {"NodesEvaluated": 2, "ConstraintFiltered": {"${node.class} = gpu": 2}},
            "Waiting for a machine: 2 machines are of another class",
        ),
        (
            {"NodesEvaluated": 1, "DimensionExhausted": {"network: port collision": 1}},
            "Waiting for a machine: one machine has not enough ports free",
        ),
        ({"NodesEvaluated": 1}, "Waiting for a machine"),
    ],
)
def test_reasons_for_waiting_in_plain_words(metric: dict[str, Any], text: str) -> None:
    assert words.waiting_text({"lab": metric}) == text


def test_an_old_event_changes_nothing() -> None:
    view = View("p", "lab-")
    job = {
        "ID": JOB,
        "ModifyIndex": 9,
        "Meta": {"datalabs_platform": "p"},
        "Status": "pending",
        "SubmitTime": ns(),
    }
    assert view.apply(Event(9, "Job", "JobRegistered", JOB, job)) == JOB
    view.apply(Event(12, "Allocation", "AllocationUpdated", "a1", allocation("running", *BEGUN)))
    view.apply(Event(11, "Allocation", "PlanResult", "a1", allocation("pending", ModifyIndex=11)))
    known = view.jobs[JOB]
    assert known.first is not None
    assert known.first["ClientStatus"] == "running"


def test_jobs_of_others_are_not_told() -> None:
    view = View("ours", "lab-")
    job = {"ID": JOB, "ModifyIndex": 9, "Meta": {"datalabs_platform": "theirs"}}
    assert view.apply(Event(9, "Job", "JobRegistered", JOB, job)) is None
    assert view.apply(Event(9, "Job", "JobRegistered", "web", {"ID": "web", "ModifyIndex": 9})) is None


def test_a_list_puts_right_what_events_left_out() -> None:
    view = View("p", "lab-")
    meta = {"datalabs_platform": "p"}
    for number in (1, 2):
        view.note_job({"ID": f"lab-k3v9x2abcd-0{number}", "ModifyIndex": 9, "Meta": meta})
    view.note_job({"ID": "lab-k3v9x2abcd-03", "ModifyIndex": 30, "Meta": meta})
    listed = [{"ID": JOB, "ModifyIndex": 9, "Meta": meta}]
    view.replace(jobs=listed, allocations=[allocation("running", *BEGUN)], blocked=[], others=[], index=20)
    assert sorted(view.jobs) == [JOB, "lab-k3v9x2abcd-03"]
    assert view.jobs[JOB].first is not None


def test_an_index_that_runs_backwards_is_another_cluster() -> None:
    view = View("p", "lab-")
    meta = {"datalabs_platform": "p"}
    jobs = [
        {"ID": f"lab-k3v9x2abcd-0{number}", "ModifyIndex": 40 + number, "Meta": meta} for number in (1, 2)
    ]
    view.replace(jobs=jobs, allocations=[allocation("running", *BEGUN)], blocked=[], others=[], index=50)
    restored = {"ID": "lab-k3v9x2abcd-02", "ModifyIndex": 7, "Meta": meta, "Status": "dead"}
    view.replace(jobs=[restored], allocations=[], blocked=[], others=[], index=9)
    assert list(view.jobs) == ["lab-k3v9x2abcd-02"]
    assert view.jobs["lab-k3v9x2abcd-02"].status == "dead"


def test_a_cluster_that_lost_everything_may_have_come_as_far_again() -> None:
    view = View("p", "lab-")
    view.replace(jobs=[], allocations=[], blocked=[], others=[], index=9)
    view.note_job({"ID": JOB, "ModifyIndex": 12, "Meta": {"datalabs_platform": "p"}})
    view.replace(jobs=[], allocations=[], blocked=[], others=[], index=9)
    assert list(view.jobs) == [JOB]  # it may have been written after the list
    view.replace(jobs=[], allocations=[], blocked=[], others=[], index=9, anew=True)
    assert not view.jobs


def test_a_purged_job_does_not_come_back_with_its_last_event() -> None:
    view = View("p", "lab-")
    job = {"ID": JOB, "ModifyIndex": 9, "Meta": {"datalabs_platform": "p"}, "Stop": True}
    view.note_job(job)
    view.forget(JOB)
    assert view.apply(Event(20, "Job", "JobDeregistered", JOB, {**job, "ModifyIndex": 20})) is None
    assert not view.jobs


NODE = {
    "ID": "n1",
    "Name": "node-1",
    "Status": "ready",
    "SchedulingEligibility": "eligible",
    "Drain": False,
    "NodeClass": "gpu",
    "NodePool": "default",
    "HostVolumes": {"datalabs": {}},
    "Drivers": {"docker": {"Detected": True, "Healthy": True}, "qemu": {"Detected": True, "Healthy": False}},
    "NodeResources": {
        "Cpu": {"CpuShares": 8000},
        "Memory": {"MemoryMB": 16_000},
        "Disk": {"DiskMB": 100_000},
        "Devices": [
            {
                "Vendor": "nvidia",
                "Type": "gpu",
                "Name": "Tesla T4",
                "Instances": [{"Healthy": True}, {"Healthy": True}, {"Healthy": False}],
            }
        ],
    },
    "ReservedResources": {"Cpu": {"CpuShares": 1000}, "Memory": {"MemoryMB": 1000}, "Disk": {"DiskMB": 0}},
}
LAB_RESOURCES = {
    "AllocatedResources": {
        "Shared": {"DiskMB": 320},
        "Tasks": {
            "main": {
                "Cpu": {"CpuShares": 500},
                "Memory": {"MemoryMB": 768},
                "Devices": [{"Vendor": "nvidia", "Type": "gpu", "Name": "Tesla T4", "DeviceIDs": ["u1"]}],
            }
        },
    }
}


def test_a_machine_with_what_is_taken_on_it() -> None:
    node = nodes.node_of(NODE, [LAB_RESOURCES], [LAB_RESOURCES], NomadSettings())
    assert (node.cores, node.memory_mib, node.cores_taken, node.memory_taken_mib) == (7.0, 15_000, 1.0, 1536)
    assert (node.gpus, node.gpus_taken) == ({"nvidia/gpu/Tesla T4": 2}, {"nvidia/gpu/Tesla T4": 2})
    assert (node.labs, node.state, node.node_class) == (1, NodeState.READY, "gpu")
    assert node.runtimes == [Runtime.CONTAINER]


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({"Status": "down"}, NodeState.UNREACHABLE),
        ({"Status": "disconnected"}, NodeState.UNREACHABLE),
        ({"Drain": True}, NodeState.DRAINING),
        ({"SchedulingEligibility": "ineligible"}, NodeState.CLOSED),
    ],
)
def test_a_machine_that_takes_nothing(changes: dict[str, Any], state: NodeState) -> None:
    node = nodes.node_of({**NODE, **changes}, [], [], NomadSettings())
    assert node.state is state
    assert nodes.capacity_of([node], []).cores == 0


def test_which_machines_are_for_labs() -> None:
    assert nodes.runs_labs(NODE, NomadSettings(nomad_volume="datalabs"))
    assert not nodes.runs_labs(NODE, NomadSettings(nomad_volume="other"))
    assert not nodes.runs_labs(NODE, NomadSettings(nomad_node_pool="gpu"))


def test_both_streams_of_a_log_share_the_room() -> None:
    said, complained = b"".join(b"s%d\n" % n for n in range(10)), b"c0\nc1\n"
    assert readings.log_lines(said, complained, lines=6) == (["s6", "s7", "s8", "s9", "c0", "c1"], True)
    assert readings.log_lines(b"", complained, lines=6) == (["c0", "c1"], False)
    assert readings.log_lines(said, said, lines=4) == (["s8", "s9", "s8", "s9"], True)
    assert readings.log_lines(said, b"", lines=10) == ([f"s{n}" for n in range(10)], False)


def test_use_is_measured_in_cores_and_without_the_page_cache() -> None:
    usage = {
        "CpuStats": {"Percent": 150.0},
        "MemoryStats": {
            "RSS": 9 << 20,
            "Usage": 13 << 20,
            "Cache": 4 << 20,
            "Measured": ["RSS", "Usage", "Cache"],
        },
    }
    known = Known(JOB, meta={"datalabs_cores": "0.5", "datalabs_memory_mib": "768"})
    sample = readings.sample_of(known, {"ResourceUsage": usage, "Tasks": {"main": {}}, "Timestamp": ns(1)})
    assert sample is not None
    assert (sample.cores, sample.memory_mib, sample.max_memory_mib) == (1.5, 9.0, 768)
    assert readings.sample_of(known, {"ResourceUsage": usage, "Tasks": None, "Timestamp": ns(1)}) is None
    newer = {
        "CpuStats": {},
        "MemoryStats": {"Usage": 13 << 20, "Cache": 4 << 20, "Measured": ["Usage", "Cache"]},
    }
    sample = readings.sample_of(known, {"ResourceUsage": newer, "Tasks": {"main": {}}, "Timestamp": ns(1)})
    assert sample is not None
    assert sample.memory_mib == 9.0


@pytest.mark.parametrize(
    ("killing", "patience", "runtime", "signal"),
    [
        (2.0, "2s", "vm", 9),
        (1.0, "1m0s", "vm", None),
        (3.9, "1m0s", "vm", None),
        (2.0, "2s", "container", None),
    ],
)
def test_a_machine_that_had_to_be_killed_is_told_from_one_that_went(
    killing: float, patience: str, runtime: str, signal: int | None
) -> None:
    """Nomad says of both that they exited with 0; the time between asking and end tells them apart."""
    over = event("Terminated", 4, exit_code="0", signal="0", oom_killed="false")
    events = [*BEGUN, event("Killing", killing, kill_timeout=patience), over]
    end = seen(allocation("complete", *events), stop=True, meta={"datalabs_runtime": runtime}).end
    assert end is not None
    assert (end.asked, end.signal, end.exit_code) == (True, signal, None if signal else 0)
