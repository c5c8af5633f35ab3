"""Registering, changing, stopping and forgetting jobs."""

from typing import Any

import pytest

from datalabs_testing.waiting import eventually

from .conftest import SECOND, Cluster

STUB = {
    *("CreateIndex", "Datacenters", "ID", "JobModifyIndex", "JobSummary", "ModifyIndex", "Name", "Namespace"),
    *(
        "NodePool",
        "ParameterizedJob",
        "ParentID",
        "Periodic",
        "Priority",
        "Status",
        "StatusDescription",
        "Stop",
    ),
    *("SubmitTime", "Type", "Multiregion"),
}


def group(job: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = job["TaskGroups"][0]
    return found


def task(job: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = group(job)["Tasks"][0]
    return found


async def test_a_registration_is_answered_with_its_evaluation(cluster: Cluster) -> None:
    answer = await cluster.register(cluster.job())
    assert answer.status == 200
    assert answer.body["JobModifyIndex"] == answer.body["EvalCreateIndex"] == answer.index
    assert (answer.body["Warnings"], len(answer.body["EvalID"])) == ("", 36)


async def test_what_exists_is_not_created_again(cluster: Cluster) -> None:
    job = await cluster.run()
    again = await cluster.register(job)
    assert (again.status, again.body) == (500, "Enforcing job modify index 0: job already exists")
    await cluster.ask("DELETE", f"/v1/job/{job['ID']}")
    stopped = await cluster.register(job)
    assert (stopped.status, stopped.body) == (500, "Enforcing job modify index 0: job already exists")


async def test_an_update_needs_the_right_index(cluster: Cluster) -> None:
    job = await cluster.run()
    now = (await cluster.get(f"/v1/job/{job['ID']}"))["JobModifyIndex"]
    wrong = await cluster.ask("POST", "/v1/jobs", {"Job": job, "EnforceIndex": True, "JobModifyIndex": 1})
    text = f"Enforcing job modify index 1: job exists with conflicting job modify index: {now}"
    assert (wrong.status, wrong.body) == (500, text)
    other = cluster.job()
    gone = await cluster.ask("POST", "/v1/jobs", {"Job": other, "EnforceIndex": True, "JobModifyIndex": 1})
    assert (gone.status, gone.body) == (500, "Enforcing job modify index 1: job does not exist")


async def test_the_same_again_is_no_new_version_and_a_new_evaluation(cluster: Cluster) -> None:
    job = await cluster.run()
    await cluster.evaluations(job)
    again = await cluster.ask("POST", "/v1/jobs", {"Job": job})
    assert again.status == 200
    evaluations = await cluster.evaluations(job, 2)
    assert [one["TriggeredBy"] for one in evaluations] == ["job-register", "job-register"]
    assert (await cluster.get(f"/v1/job/{job['ID']}"))["Version"] == 0
    assert len(await cluster.get(f"/v1/job/{job['ID']}/allocations")) == 1


@pytest.mark.parametrize(
    ("path", "body", "status", "text"),
    [
        ("/v1/jobs", '{"Job":', 400, "unexpected EOF"),
        ("/v1/jobs", {"Job": {"ID": "x y"}}, 500, "Job ID contains a space"),
        ("/v1/jobs", {"Job": {"ID": "x"}}, 500, "Missing job task groups"),
        ("/v1/jobs?namespace=nope", {"Job": {"ID": "x"}}, 500, 'job "x" is in nonexistent namespace "nope"'),
    ],
)
async def test_what_is_wrong_is_refused(
    cluster: Cluster, path: str, body: Any, status: int, text: str
) -> None:
    answer = await cluster.ask("POST", path, body)
    assert answer.status == status
    assert text in answer.body


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ({"NodePool": "mars"}, "is in nonexistent node pool"),
        ({"Type": "nonsense"}, "Invalid job type"),
    ],
)
async def test_a_job_that_cannot_be_is_refused(cluster: Cluster, what: dict[str, Any], text: str) -> None:
    answer = await cluster.register(cluster.job(lambda job: job.update(what)))
    assert answer.status == 500
    assert text in answer.body


async def test_logs_must_fit_on_the_disk_that_is_asked_for(cluster: Cluster) -> None:
    answer = await cluster.register(cluster.job(lambda job: group(job).update(EphemeralDisk={"SizeMB": 10})))
    assert answer.status == 500
    assert "log storage (10 MB) must be less than requested disk capacity (10 MB)" in answer.body


async def test_a_stub_has_these_fields_and_meta_only_when_asked(cluster: Cluster) -> None:
    job = await cluster.run()
    [stub] = await cluster.get(f"/v1/jobs?prefix={job['ID']}")
    assert set(stub) == STUB
    [stub] = await cluster.get(f"/v1/jobs?prefix={job['ID']}&meta=true")
    assert stub["Meta"] == {"color": "blue"}
    assert set(stub) == {*STUB, "Meta"}


async def test_what_is_left_out_is_filled_in(cluster: Cluster) -> None:
    job = await cluster.run()
    found = await cluster.get(f"/v1/job/{job['ID']}")
    assert (found["Priority"], found["Region"], found["Namespace"], found["NodePool"]) == (
        50,
        "global",
        "default",
        "default",
    )
    assert found["TaskGroups"][0]["Tasks"][0]["RestartPolicy"]["Attempts"] == 0
    assert found["TaskGroups"][0]["Tasks"][0]["Resources"]["MemoryMaxMB"] == 0
    assert found["TaskGroups"][0]["ReschedulePolicy"]["Delay"] == 30 * SECOND


async def test_what_is_not_there(cluster: Cluster) -> None:
    await cluster.run()
    job = await cluster.ask("GET", "/v1/job/nothing")
    assert (job.status, job.body) == (404, "job not found")
    assert job.index > 0
    assert await cluster.get("/v1/job/nothing/allocations") == []
    assert await cluster.get("/v1/job/nothing/evaluations") == []
    allocation = await cluster.ask("GET", "/v1/allocation/00000000-0000-0000-0000-000000000000")
    assert (allocation.status, allocation.body) == (404, "alloc not found")
    short = await cluster.ask("GET", "/v1/allocation/nothing")
    assert short.status == 500
    assert "UUID must be 36 characters" in short.body
    assert (await cluster.ask("GET", "/v1/nothing")).status == 404
    assert (await cluster.ask("PATCH", "/v1/jobs")).status == 405


async def test_ending_what_never_was_is_no_error(cluster: Cluster) -> None:
    answer = await cluster.ask("DELETE", "/v1/job/nothing?purge=true")
    assert (answer.status, answer.body["EvalID"]) == (200, "")


async def test_a_stopped_job_stays_and_is_dead(cluster: Cluster) -> None:
    job = await cluster.run()
    await cluster.allocation(job, "running")
    assert (await cluster.get(f"/v1/job/{job['ID']}"))["Status"] == "running"
    answer = await cluster.ask("DELETE", f"/v1/job/{job['ID']}")
    assert (answer.status, len(answer.body["EvalID"])) == (200, 36)
    allocation = await cluster.allocation(job, "complete")
    assert (allocation["DesiredStatus"], allocation["DesiredDescription"]) == (
        "stop",
        "alloc not needed due to job update",
    )
    found = await cluster.get(f"/v1/job/{job['ID']}")
    assert (found["Status"], found["Stop"]) == ("dead", True)


async def test_a_purged_job_takes_its_allocations_with_it(cluster: Cluster) -> None:
    job = await cluster.run()
    allocation = await cluster.allocation(job, "running")
    await cluster.ask("DELETE", f"/v1/job/{job['ID']}?purge=true")
    assert (await cluster.ask("GET", f"/v1/job/{job['ID']}")).status == 404
    assert (await cluster.ask("GET", f"/v1/allocation/{allocation['ID']}")).status == 404
    assert await cluster.get(f"/v1/job/{job['ID']}/allocations?all=true") == []
    again = await cluster.register(job)
    assert again.status == 200


async def test_who_is_stopped_can_be_started_anew(cluster: Cluster) -> None:
    job = await cluster.run()
    await cluster.allocation(job, "running")
    await cluster.ask("DELETE", f"/v1/job/{job['ID']}")
    await cluster.allocation(job, "complete")
    assert (await cluster.ask("POST", "/v1/jobs", {"Job": job})).status == 200
    await cluster.evaluations(job, 3)
    found = await cluster.get(f"/v1/job/{job['ID']}/allocations")
    assert sorted(one["DesiredStatus"] for one in found) == ["run", "stop"]


async def test_collecting_garbage_forgets_dead_jobs_but_no_service_that_nobody_stopped(
    cluster: Cluster,
) -> None:
    def batch(job: dict[str, Any]) -> None:
        job["Type"] = "batch"
        job.pop("Update")

    job, service = await cluster.run(batch, run_for="10ms"), await cluster.run(run_for="10ms")
    allocation = await cluster.allocation(job, "complete")
    await cluster.allocation(service, "failed")

    async def gone() -> bool:
        assert (await cluster.ask("PUT", "/v1/system/gc")).status == 200
        return (await cluster.ask("GET", f"/v1/job/{job['ID']}")).status == 404

    await eventually(gone, seconds=20, pause=0.2)
    assert (await cluster.ask("GET", f"/v1/allocation/{allocation['ID']}")).status == 404
    assert (await cluster.get(f"/v1/job/{service['ID']}"))["Status"] == "dead"


async def test_dispatched_twice_with_one_token_is_once_and_only_the_query_counts(cluster: Cluster) -> None:
    def parameterised(job: dict[str, Any]) -> None:
        job |= {"Type": "batch", "ParameterizedJob": {"MetaOptional": ["of"]}}
        job.pop("Update")

    job = cluster.job(parameterised, run_for="10ms")
    assert (await cluster.ask("POST", "/v1/jobs", {"Job": job})).body["EvalID"] == ""
    path = f"/v1/job/{job['ID']}/dispatch"
    first = await cluster.ask("POST", f"{path}?idempotency_token=a", {"Meta": {"of": "moon"}})
    second = await cluster.ask("POST", f"{path}?idempotency_token=a", {"Meta": {"of": "moon"}})
    assert first.body["DispatchedJobID"] == second.body["DispatchedJobID"]
    assert second.body["EvalID"] == ""
    in_body = [await cluster.ask("POST", path, {"idempotency_token": "b"}) for _ in range(2)]
    assert in_body[0].body["DispatchedJobID"] != in_body[1].body["DispatchedJobID"]
    wrong = await cluster.ask("POST", path, {"Meta": {"nonsense": "x"}})
    assert wrong.status == 500
    assert "unpermitted metadata keys" in wrong.body
    children = [first.body["DispatchedJobID"], *(one.body["DispatchedJobID"] for one in in_body)]
    assert all(one.startswith(f"{job['ID']}/dispatch-") for one in children)
    assert (await cluster.get(f"/v1/job/{children[0]}"))["Meta"] == {"color": "blue", "of": "moon"}
    cluster.made.extend(children)


async def test_a_plan_changes_nothing_and_says_whether_it_fits(cluster: Cluster) -> None:
    fits, never = cluster.job(), cluster.job(lambda job: task(job)["Resources"].update(MemoryMB=9_999_999))
    good = await cluster.ask("POST", f"/v1/job/{fits['ID']}/plan", {"Job": fits, "Diff": False})
    bad = await cluster.ask("POST", f"/v1/job/{never['ID']}/plan", {"Job": never, "Diff": False})
    assert good.body["FailedTGAllocs"] is None
    assert bad.body["FailedTGAllocs"]["lab"]["DimensionExhausted"] == {"memory": 1}
    assert (await cluster.ask("GET", f"/v1/job/{fits['ID']}")).status == 404
