"""The event stream and blocking queries: what is told, in which order, from where on."""

import asyncio
from typing import Any
from urllib.parse import quote

from .conftest import Cluster

ALL = "topic=Job&topic=Allocation&topic=Evaluation"


def told(lines: list[dict[str, Any]]) -> list[tuple[int, list[str]]]:
    return [
        (line["Index"], sorted(f"{event['Topic']}.{event['Type']}" for event in line["Events"]))
        for line in lines
        if line.get("Events")
    ]


async def test_a_sign_of_life_comes_at_once(cluster: Cluster) -> None:
    async with cluster.stream(f"index={await cluster.index()}&topic=Job:nothing-at-all") as lines:
        assert await lines.next() == {}


async def test_one_write_may_be_two_lines_of_one_index(cluster: Cluster) -> None:
    job = cluster.job()
    async with cluster.stream(f"topic=Job:{job['ID']}&topic=Evaluation:{job['ID']}&index=0") as lines:
        await lines.next()
        answer = await cluster.register(job)
        found = told(await lines.until("Evaluation.JobRegistered"))
    assert found == [
        (answer.index, ["Job.JobRegistered"]),
        (answer.index, ["Evaluation.JobRegistered"]),
    ]


async def test_a_life_is_told_in_this_order(cluster: Cluster) -> None:
    job = cluster.job(run_for="1500ms")  # a node tells its server each 200 ms where its tasks have got to
    only = "&".join(f"topic={topic}:{job['ID']}" for topic in ("Job", "Allocation", "Evaluation"))
    async with cluster.stream(f"{only}&index=0") as lines:
        assert await lines.next() == {}
        await cluster.register(job)
        seen: list[dict[str, Any]] = []
        states: list[str] = []
        while not states or states[-1] != "failed":
            line = await lines.next()
            seen.append(line)
            states += [
                event["Payload"]["Allocation"]["ClientStatus"]
                for event in line.get("Events", [])
                if event["Topic"] == "Allocation"
            ]
    kinds = [kind for _, kind in told(seen)]
    assert kinds[:3] == [
        ["Job.JobRegistered"],
        ["Evaluation.JobRegistered"],
        ["Allocation.PlanResult", "Evaluation.PlanResult", "Job.PlanResult"],
    ]
    assert kinds[3] == ["Evaluation.EvaluationUpdated"]
    assert kinds[-1] == ["Allocation.AllocationUpdated", "Job.AllocationUpdated"]
    assert [state for place, state in enumerate(states) if state not in states[:place]] == [
        "pending",
        "running",
        "failed",
    ]
    indexes = [index for index, _ in told(seen)]
    assert indexes == sorted(indexes)
    event = next(event for line in seen for event in line.get("Events", []) if event["Topic"] == "Allocation")
    assert set(event) == {"FilterKeys", "Index", "Key", "Namespace", "Payload", "Topic", "Type"}
    assert event["FilterKeys"] == [job["ID"], ""]
    allocation = event["Payload"]["Allocation"]
    assert "Job" not in allocation or allocation["Job"] is None
    assert allocation["AllocatedResources"]["Shared"]["Ports"]


async def test_a_purge_is_told_with_what_was(cluster: Cluster) -> None:
    job = await cluster.run()
    allocation = await cluster.allocation(job, "running")
    async with cluster.stream(f"topic=Job:{job['ID']}&index={await cluster.index()}") as lines:
        await cluster.ask("DELETE", f"/v1/job/{job['ID']}?purge=true")
        found = await lines.until("Job.JobDeregistered")
    [event] = found[-1]["Events"]
    assert event["Payload"]["Deleted"] is True
    assert event["Payload"]["Job"]["ID"] == job["ID"]
    assert allocation["JobID"] == job["ID"]


async def test_a_resumed_stream_begins_with_what_was_told_last(cluster: Cluster) -> None:
    first, second = await cluster.run(), cluster.job()
    await cluster.allocation(first, "running")
    whole = await cluster.get(f"/v1/job/{first['ID']}")
    known = whole["ModifyIndex"]
    async with cluster.stream(f"topic=Job&index={known}") as lines:
        await cluster.register(second)
        found = told(await lines.until("Job.JobRegistered"))
    assert found[0][0] == known, "the index itself comes again"


async def test_zero_replays_all_that_is_kept(cluster: Cluster) -> None:
    job = await cluster.run()
    await cluster.allocation(job, "running")
    async with cluster.stream(f"topic=Job:{job['ID']}&index=0") as lines:
        found = told(await lines.until("Job.JobRegistered"))
    assert found[-1][1] == ["Job.JobRegistered"]


async def test_other_namespaces_are_not_heard(cluster: Cluster) -> None:
    await cluster.ask("PUT", "/v1/namespace/elsewhere", {"Name": "elsewhere"})
    job = cluster.job()
    async with cluster.stream("topic=Job&topic=Evaluation&namespace=elsewhere&index=0") as lines:
        assert await lines.next() == {}
        await cluster.register(job)
        there = {**cluster.job(), "Namespace": "elsewhere"}
        await cluster.ask("POST", "/v1/jobs?namespace=elsewhere", {"Job": there})
        found = await lines.until("Job.JobRegistered")
    names = {event["Key"] for line in found for event in line.get("Events", []) if event["Topic"] == "Job"}
    assert names == {there["ID"]}
    await cluster.ask("DELETE", f"/v1/job/{there['ID']}?namespace=elsewhere&purge=true")


async def test_a_blocking_query_waits_its_time(cluster: Cluster) -> None:
    await cluster.allocation(await cluster.run(), "running")
    await asyncio.sleep(0.3)
    before = await cluster.ask("GET", "/v1/jobs")
    loop = asyncio.get_running_loop()
    began = loop.time()
    after = await cluster.ask("GET", f"/v1/jobs?index={before.index}&wait=500ms")
    assert 0.45 < loop.time() - began < 2
    assert after.index == before.index


async def test_a_blocking_query_wakes_when_something_happens(cluster: Cluster) -> None:
    await cluster.allocation(await cluster.run(), "running")
    await asyncio.sleep(0.3)
    before = await cluster.ask("GET", "/v1/jobs")
    waiting = asyncio.ensure_future(cluster.ask("GET", f"/v1/jobs?index={before.index}&wait=10s"))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    await cluster.run()
    after = await asyncio.wait_for(waiting, 5)
    assert after.index > before.index


async def test_lists_are_filtered_and_paged(cluster: Cluster) -> None:
    jobs = [await cluster.run() for _ in range(3)]
    prefix = jobs[0]["ID"].rsplit("-", 1)[0]
    first = await cluster.ask("GET", f"/v1/jobs?prefix={prefix}&per_page=2")
    assert [one["ID"] for one in first.body] == [jobs[0]["ID"], jobs[1]["ID"]]
    token = first.headers["X-Nomad-NextToken"]
    assert token == f"default.{jobs[2]['ID']}"
    second = await cluster.ask("GET", f"/v1/jobs?prefix={prefix}&per_page=2&next_token={token}")
    assert [one["ID"] for one in second.body] == [jobs[2]["ID"]]
    assert "X-Nomad-NextToken" not in second.headers
    wanted = {
        f'ID == "{jobs[1]["ID"]}"': [jobs[1]["ID"]],
        f'ID matches "^{prefix}" and Meta.color == "blue"': [one["ID"] for one in jobs],
        f'ID matches "^{prefix}" and "color" in Meta': [one["ID"] for one in jobs],
        f'ID matches "^{prefix}" and Type != "service"': [],
        f'Name contains "{prefix}" and not (ID == "{jobs[0]["ID"]}")': [one["ID"] for one in jobs[1:]],
    }
    for expression, names in wanted.items():
        found = await cluster.get(f"/v1/jobs?filter={_quoted(expression)}")
        assert [one["ID"] for one in found] == names, expression
    await cluster.allocation(jobs[2])
    expression = f'JobID matches "^{prefix}"'
    found = await cluster.get(f"/v1/allocations?filter={_quoted(expression)}")
    assert {one["JobID"] for one in found} == {one["ID"] for one in jobs}
    for wrong in ("Nope == 1", "Status =="):
        assert (await cluster.ask("GET", f"/v1/jobs?filter={_quoted(wrong)}")).status == 400


def _quoted(text: str) -> str:
    return quote(text)
