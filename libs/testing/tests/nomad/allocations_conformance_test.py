"""What becomes of tasks: their events in order, the states of their allocations, their logs and figures."""

import asyncio
from typing import Any

import pytest

from datalabs_testing.waiting import eventually

from .conftest import SECOND, Cluster

BEFORE = ["Received", "Task Setup"]
ALLOCATION = {
    *(
        "AllocatedResources",
        "ClientDescription",
        "ClientStatus",
        "CreateIndex",
        "CreateTime",
        "DesiredStatus",
    ),
    *("EvalID", "ID", "Job", "JobID", "Metrics", "ModifyIndex", "ModifyTime", "Name", "Namespace", "NodeID"),
    *("NodeName", "SharedResources", "TaskGroup", "TaskStates", "AllocModifyIndex"),
}
STUB = {
    *(
        "ClientDescription",
        "ClientStatus",
        "CreateIndex",
        "CreateTime",
        "DeploymentStatus",
        "DesiredDescription",
    ),
    *(
        "DesiredStatus",
        "DesiredTransition",
        "EvalID",
        "FollowupEvalID",
        "ID",
        "JobID",
        "JobType",
        "JobVersion",
    ),
    *("ModifyIndex", "ModifyTime", "Name", "Namespace", "NextAllocation", "NodeID", "NodeName", "TaskGroup"),
    *("PreemptedAllocations", "PreemptedByAllocation", "RescheduleTracker", "TaskStates"),
}


def main(allocation: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = allocation["TaskStates"]["main"]
    return found


def types(allocation: dict[str, Any]) -> list[str]:
    return [event["Type"] for event in main(allocation)["Events"]]


def last(allocation: dict[str, Any], kind: str) -> dict[str, Any]:
    found: dict[str, Any] = [event for event in main(allocation)["Events"] if event["Type"] == kind][-1]
    return found


def batch(job: dict[str, Any]) -> None:
    job["Type"] = "batch"
    job.pop("Update")


async def test_a_running_allocation(cluster: Cluster) -> None:
    job = await cluster.run()
    stub = await cluster.allocation(job, "running")
    assert set(stub) == STUB
    assert types(stub) == [*BEFORE, "Started"]
    assert (main(stub)["State"], main(stub)["FinishedAt"], main(stub)["Failed"]) == ("running", None, False)
    assert stub["ClientDescription"] == "Tasks are running"
    times = [event["Time"] for event in main(stub)["Events"]]
    assert times == sorted(times)
    whole = await cluster.get(f"/v1/allocation/{stub['ID']}")
    assert set(whole) >= ALLOCATION
    [port] = whole["AllocatedResources"]["Shared"]["Ports"]
    assert port["HostIP"] == "127.0.0.1"
    assert 20_000 <= port["Value"] <= 31_999
    task = whole["AllocatedResources"]["Tasks"]["main"]
    assert (task["Cpu"]["CpuShares"], task["Memory"]["MemoryMB"]) == (10, 20)
    listed = await cluster.get("/v1/allocations?resources=true")
    mine = next(one for one in listed if one["ID"] == stub["ID"])
    assert mine["AllocatedResources"] == whole["AllocatedResources"]
    bare = await cluster.get("/v1/allocations?task_states=false")
    assert next(one for one in bare if one["ID"] == stub["ID"])["TaskStates"] is None


async def test_a_service_that_exits_with_zero_has_failed(cluster: Cluster) -> None:
    allocation = await cluster.ended(run_for="50ms")
    assert (allocation["ClientStatus"], allocation["DesiredStatus"]) == ("failed", "run")
    assert types(allocation) == [*BEFORE, "Started", "Terminated", "Not Restarting"]
    assert last(allocation, "Terminated")["Details"] == {
        "exit_code": "0",
        "signal": "0",
        "oom_killed": "false",
    }
    assert last(allocation, "Not Restarting")["DisplayMessage"] == "Policy allows no restarts"
    assert main(allocation)["Failed"] is True


async def test_a_batch_that_exits_with_zero_is_complete(cluster: Cluster) -> None:
    job = await cluster.run(batch, run_for="50ms")
    allocation = await cluster.allocation(job, "complete", "failed")
    assert allocation["ClientStatus"] == "complete"
    assert types(allocation) == [*BEFORE, "Started", "Terminated"]
    assert main(allocation)["Failed"] is False
    assert (await cluster.get(f"/v1/job/{job['ID']}"))["Status"] == "dead"


async def test_a_batch_that_fails_is_not_tried_again(cluster: Cluster) -> None:
    job = await cluster.run(batch, run_for="50ms", exit_code=5, exit_err_msg="bad")
    allocation = await cluster.allocation(job, "complete", "failed")
    assert allocation["ClientStatus"] == "failed"
    terminated = last(allocation, "Terminated")
    assert terminated["DisplayMessage"] == 'Exit Code: 5, Exit Message: "bad"'
    assert (terminated["Details"]["exit_code"], terminated["ExitCode"]) == ("5", 5)
    await asyncio.sleep(0.5)
    assert len(await cluster.get(f"/v1/job/{job['ID']}/allocations")) == 1


async def test_a_signal_is_told(cluster: Cluster) -> None:
    allocation = await cluster.ended(run_for="50ms", exit_signal=9)
    details = last(allocation, "Terminated")["Details"]
    assert (details["exit_code"], details["signal"]) == ("0", "9")


async def test_a_driver_that_cannot_start_it(cluster: Cluster) -> None:
    allocation = await cluster.ended(start_error="no such image", start_error_recoverable=False)
    assert types(allocation) == [*BEFORE, "Driver Failure", "Not Restarting"]
    assert last(allocation, "Driver Failure")["DisplayMessage"] == "no such image"
    assert main(allocation)["StartedAt"] is None


async def test_a_stop_is_told_step_by_step(cluster: Cluster) -> None:
    job = await cluster.run()
    await cluster.allocation(job, "running")
    await cluster.ask("DELETE", f"/v1/job/{job['ID']}")
    allocation = await cluster.allocation(job, "complete", "failed")
    assert allocation["ClientStatus"] == "complete"
    assert types(allocation) == [*BEFORE, "Started", "Killing", "Terminated", "Killed"]
    killing = last(allocation, "Killing")
    assert killing["DisplayMessage"] == "Sent interrupt. Waiting 2s before force killing"
    assert killing["Details"]["kill_timeout"] == "2s"
    assert main(allocation)["Failed"] is False


async def test_a_restart_within_the_policy(cluster: Cluster) -> None:
    def policy(job: dict[str, Any]) -> None:
        group = job["TaskGroups"][0]
        group["RestartPolicy"] = {
            "Attempts": 1,
            "Mode": "fail",
            "Interval": 600 * SECOND,
            "Delay": SECOND // 2,
        }

    allocation = await cluster.ended(policy, run_for="50ms", exit_code=3)
    once = ["Started", "Terminated"]
    assert types(allocation) == [*BEFORE, *once, "Restarting", *once, "Not Restarting"]
    assert main(allocation)["Restarts"] == 1
    text = last(allocation, "Not Restarting")["DisplayMessage"]
    assert text == 'Exceeded allowed attempts 1 in interval 10m0s and mode is "fail"'


async def test_who_fails_may_be_placed_anew(cluster: Cluster) -> None:
    def policy(job: dict[str, Any]) -> None:
        job["TaskGroups"][0]["ReschedulePolicy"] = {
            "Attempts": 1,
            "Interval": 3600 * SECOND,
            "Delay": 5 * SECOND,
            "DelayFunction": "constant",
            "Unlimited": False,
        }

    job = await cluster.run(policy, run_for="50ms", exit_code=3)
    first = await cluster.allocation(job, "failed")

    async def second() -> Any:
        found = await cluster.get(f"/v1/job/{job['ID']}/allocations")
        return found if len(found) == 2 else None

    found = {one["ID"]: one for one in await eventually(second, seconds=20)}
    old = found.pop(first["ID"])
    [new] = found.values()
    assert old["NextAllocation"] == new["ID"]


async def test_what_it_said(cluster: Cluster) -> None:
    said = {"stdout_string": "hello\n", "stdout_repeat": 2, "stdout_repeat_duration": "1ms"}
    job = await cluster.run(batch, run_for="300ms", **said)
    allocation = await cluster.allocation(job, "complete")
    path = f"/v1/client/fs/logs/{allocation['ID']}"
    plain = await cluster.ask("GET", f"{path}?task=main&type=stdout&plain=true")
    assert (plain.status, plain.body) == (200, "hello\n" * 3)
    end = await cluster.ask("GET", f"{path}?task=main&type=stdout&plain=true&origin=end&offset=4")
    assert end.body == "llo\n"
    framed = await cluster.ask("GET", f"{path}?task=main&type=stdout")
    assert (framed.body["File"], framed.body["Offset"]) == ("alloc/logs/main.stdout.0", 18)
    assert (await cluster.ask("GET", f"{path}?task=main&type=stderr&plain=true")).body == ""


@pytest.mark.parametrize(
    ("query", "status", "text"),
    [
        ("type=stdout", 400, "must provide task name"),
        ("task=main", 400, "must provide log type (stdout/stderr)"),
        ("task=nope&type=stdout", 400, 'unknown task name "nope"'),
    ],
)
async def test_logs_that_are_asked_for_wrongly(cluster: Cluster, query: str, status: int, text: str) -> None:
    allocation = await cluster.allocation(await cluster.run(), "running")
    answer = await cluster.ask("GET", f"/v1/client/fs/logs/{allocation['ID']}?plain=true&{query}")
    assert (answer.status, answer.body) == (status, text)


async def test_there_are_no_logs_where_none_are_kept(cluster: Cluster) -> None:
    def silent(job: dict[str, Any]) -> None:
        job["TaskGroups"][0]["Tasks"][0]["LogConfig"]["Disabled"] = True

    allocation = await cluster.allocation(await cluster.run(silent), "running")
    answer = await cluster.ask(
        "GET", f"/v1/client/fs/logs/{allocation['ID']}?task=main&type=stdout&plain=true"
    )
    assert (answer.status, answer.body) == (404, 'log entry for task "main" and log type "stdout" not found')


async def test_what_nobody_knows_has_neither_logs_nor_figures(cluster: Cluster) -> None:
    unknown = "00000000-0000-0000-0000-000000000000"
    for path in (f"allocation/{unknown}/stats", f"fs/logs/{unknown}?task=main&type=stdout&plain=true"):
        answer = await cluster.ask("GET", f"/v1/client/{path}")
        assert (answer.status, answer.body) == (404, f'Unknown allocation "{unknown}"')


async def test_what_it_uses(cluster: Cluster) -> None:
    allocation = await cluster.allocation(await cluster.run(), "running")
    stats = await cluster.get(f"/v1/client/allocation/{allocation['ID']}/stats")
    assert set(stats) == {"ResourceUsage", "Tasks", "Timestamp"}
    assert set(stats["ResourceUsage"]) == {"CpuStats", "MemoryStats", "DeviceStats"}
    assert {"Measured", "Percent", "TotalTicks"} <= set(stats["ResourceUsage"]["CpuStats"])
    assert {"Measured", "RSS", "Usage", "Cache"} <= set(stats["ResourceUsage"]["MemoryStats"])
    assert {"Pids", "ResourceUsage", "Timestamp"} == set(stats["Tasks"]["main"])


async def test_a_signal_to_a_task_that_has_ended_is_refused(cluster: Cluster) -> None:
    allocation = await cluster.ended(run_for="10ms")
    path = f"/v1/client/allocation/{allocation['ID']}/signal"
    answer = await cluster.ask("POST", path, {"Signal": "SIGKILL", "Task": "main"})
    assert answer.status in {404, 500}


async def test_a_task_that_comes_before_the_main_one(cluster: Cluster) -> None:
    def two(job: dict[str, Any]) -> None:
        batch(job)
        main_task = job["TaskGroups"][0]["Tasks"][0]
        first = {**main_task, "Name": "disk", "Leader": False, "Config": {"run_for": "50ms"}}
        first["Lifecycle"] = {"Hook": "prestart", "Sidecar": False}
        job["TaskGroups"][0]["Tasks"].insert(0, first)

    allocation = await cluster.ended(two, run_for="50ms")
    assert allocation["ClientStatus"] == "complete"
    before, after = allocation["TaskStates"]["disk"], allocation["TaskStates"]["main"]
    assert [event["Type"] for event in before["Events"]][-2:] == ["Started", "Terminated"]
    assert before["FinishedAt"] <= after["StartedAt"]


async def test_one_that_fails_before_the_main_one_ends_both(cluster: Cluster) -> None:
    def two(job: dict[str, Any]) -> None:
        batch(job)
        main_task = job["TaskGroups"][0]["Tasks"][0]
        first = {**main_task, "Name": "disk", "Leader": False, "Config": {"run_for": "50ms", "exit_code": 1}}
        first["Lifecycle"] = {"Hook": "prestart", "Sidecar": False}
        job["TaskGroups"][0]["Tasks"].insert(0, first)

    allocation = await cluster.ended(two)
    assert allocation["ClientStatus"] == "failed"
    assert allocation["TaskStates"]["main"]["State"] == "dead"
    assert allocation["TaskStates"]["main"]["StartedAt"] is None


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("${NOMAD_ALLOC_DIR}", True),
        ("$${HOME:-x}", True),
        ("${#HOME}", False),
        ("${HOME:-x}", False),
        ("$x {y}", True),
    ],
)
async def test_settings_are_templates(cluster: Cluster, text: str, taken: bool) -> None:  # noqa: FBT001 - a table's column
    allocation = await cluster.ended(run_for="10ms", exit_code=3, exit_err_msg=text)
    assert ("Failed Validation" not in types(allocation)) is taken
