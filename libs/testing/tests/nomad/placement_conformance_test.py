"""Why a job is not placed, in Nomad's words, and that it is placed as soon as there is room."""

from collections.abc import Callable
from typing import Any

import pytest

from .conftest import Cluster

Change = Callable[[dict[str, Any]], object]


def _group(job: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = job["TaskGroups"][0]
    return found


def _task(job: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = _group(job)["Tasks"][0]
    return found


def _resources(**changes: Any) -> Change:
    return lambda job: _task(job)["Resources"].update(changes)


def _constraint(left: str, operand: str, right: str) -> Change:
    return lambda job: job.update(Constraints=[{"LTarget": left, "Operand": operand, "RTarget": right}])


def _port(value: int) -> Change:
    port = {"Label": "http", "Value": value, "HostNetwork": "loopback"}
    return lambda job: _group(job).update(Networks=[{"ReservedPorts": [port]}])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_resources(Devices=[{"Name": "nvidia/gpu", "Count": 1}]), "missing devices"),
        (lambda job: _task(job).update(Driver="nonsense"), "missing drivers"),
        (_constraint("${node.class}", "=", "gpu"), "${node.class} = gpu"),
        (_constraint("${attr.nomad.version}", "version", ">= 9.0"), "${attr.nomad.version} version >= 9.0"),
        (_constraint("${attr.kernel.name}", "regexp", "^plan9$"), "${attr.kernel.name} regexp ^plan9$"),
        (_constraint("${attr.kernel.name}", "!=", "linux"), "${attr.kernel.name} != linux"),
        (
            lambda job: _group(job)["Networks"][0]["DynamicPorts"][0].update(HostNetwork="nope"),
            'missing host network "nope" for port "http"',
        ),
        (
            lambda job: _group(job).update(Volumes={"h": {"Name": "h", "Type": "host", "Source": "home-x"}}),
            "missing compatible host volumes",
        ),
        (
            lambda job: _group(job).update(Services=[{"Name": "x", "PortLabel": "http"}]),
            "${attr.consul.version} semver >= 1.8.0",
        ),
    ],
)
async def test_a_node_that_can_never_take_it_is_filtered(
    cluster: Cluster, change: Change, reason: str
) -> None:
    job = await cluster.run(change)
    blocked, first = await cluster.evaluations(job, 2)
    metrics = first["FailedTGAllocs"]["lab"]
    assert metrics["ConstraintFiltered"] == {reason: 1}
    assert (metrics["NodesEvaluated"], metrics["NodesFiltered"], metrics["NodesExhausted"]) == (1, 1, 0)
    assert (first["Status"], first["BlockedEval"]) == ("complete", blocked["ID"])
    assert (blocked["Status"], blocked["TriggeredBy"]) == ("blocked", "queued-allocs")
    assert blocked["StatusDescription"] == "created to place remaining allocations"
    assert (await cluster.get(f"/v1/job/{job['ID']}"))["Status"] == "pending"
    [stub] = await cluster.get(f"/v1/jobs?prefix={job['ID']}")
    assert stub["JobSummary"]["Summary"]["lab"]["Queued"] == 1


@pytest.mark.parametrize(
    ("change", "dimension"),
    [
        (_resources(MemoryMB=9_999_999), "memory"),
        (_resources(CPU=99_999_999), "cpu"),
        (_resources(Cores=512, CPU=0), "cores"),
        (lambda job: _group(job)["EphemeralDisk"].update(SizeMB=99_999_999), "disk"),
        (_resources(CPU=99_999_999, MemoryMB=9_999_999), "cpu"),
    ],
)
async def test_a_node_that_is_too_small_is_exhausted_in_the_first_dimension(
    cluster: Cluster, change: Change, dimension: str
) -> None:
    job = await cluster.run(change)
    _, first = await cluster.evaluations(job, 2)
    metrics = first["FailedTGAllocs"]["lab"]
    assert metrics["DimensionExhausted"] == {dimension: 1}
    assert (metrics["NodesEvaluated"], metrics["NodesFiltered"], metrics["NodesExhausted"]) == (1, 0, 1)
    assert first["QueuedAllocations"] == {"lab": 1}


async def test_where_no_node_is_nobody_is_evaluated(cluster: Cluster) -> None:
    job = await cluster.run(lambda job: job.update(Datacenters=["mars"]))
    _, first = await cluster.evaluations(job, 2)
    metrics = first["FailedTGAllocs"]["lab"]
    assert (metrics["NodesEvaluated"], metrics["NodesAvailable"]) == (0, {})


async def test_who_waits_for_a_port_gets_it_when_it_is_free(cluster: Cluster) -> None:
    first, second = await cluster.run(_port(20_777)), await cluster.run(_port(20_777))
    await cluster.allocation(first, "running")
    blocked, answered = await cluster.evaluations(second, 2)
    metrics = answered["FailedTGAllocs"]["lab"]
    assert metrics["DimensionExhausted"] == {"network: reserved port collision http=20777": 1}
    await cluster.ask("DELETE", f"/v1/job/{first['ID']}")
    allocation = await cluster.allocation(second, "running")
    assert allocation["EvalID"] == blocked["ID"]
    assert (await cluster.get(f"/v1/evaluation/{blocked['ID']}"))["Status"] == "complete"
    whole = await cluster.get(f"/v1/allocation/{allocation['ID']}")
    [port] = whole["AllocatedResources"]["Shared"]["Ports"]
    assert (port["HostIP"], port["Label"], port["Value"]) == ("127.0.0.1", "http", 20_777)


async def test_who_gives_up_waiting_is_gone(cluster: Cluster) -> None:
    job = await cluster.run(_resources(MemoryMB=9_999_999))
    blocked, _ = await cluster.evaluations(job, 2)
    await cluster.ask("DELETE", f"/v1/job/{job['ID']}")
    await cluster.evaluations(job, 3)
    assert (await cluster.get(f"/v1/evaluation/{blocked['ID']}"))["Status"] in {"blocked", "canceled"}
    assert (await cluster.get(f"/v1/job/{job['ID']}"))["Status"] == "dead"


async def test_constraints_that_hold_do_not_hinder(cluster: Cluster) -> None:
    rules = [
        ("${attr.kernel.name}", "=", "linux"),
        ("${attr.nomad.version}", "version", ">= 1.11.2"),
        ("${attr.driver.mock_driver}", "is_set", ""),
        ("${meta.nonsense}", "is_not_set", ""),
        ("${attr.kernel.name}", "regexp", "^lin"),
    ]
    made = [{"LTarget": left, "Operand": operand, "RTarget": right} for left, operand, right in rules]
    await cluster.allocation(await cluster.run(lambda job: job.update(Constraints=made)), "running")


async def test_a_job_of_the_system_runs_on_each_node_once(cluster: Cluster) -> None:
    def system(job: dict[str, Any]) -> None:
        job["Type"] = "sysbatch"
        job.pop("Update")
        _group(job).pop("ReschedulePolicy")

    job = await cluster.run(system, run_for="50ms")
    allocation = await cluster.allocation(job, "complete")
    assert allocation["TaskStates"]["main"]["Failed"] is False
    assert len(await cluster.get(f"/v1/job/{job['ID']}/allocations")) == 1
