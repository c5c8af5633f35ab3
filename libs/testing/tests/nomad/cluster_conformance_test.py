"""Nodes, variables, namespaces and settings of the cluster."""

from .conftest import Cluster

NODE = {
    *(
        "Address",
        "CreateIndex",
        "Datacenter",
        "Drain",
        "Drivers",
        "HostVolumes",
        "ID",
        "LastDrain",
        "ModifyIndex",
    ),
    *("Name", "NodeClass", "NodePool", "SchedulingEligibility", "Status", "StatusDescription", "Version"),
}


async def test_nodes_say_what_they_have(cluster: Cluster) -> None:
    [stub] = await cluster.get("/v1/nodes")
    assert set(stub) == NODE
    assert (stub["Status"], stub["SchedulingEligibility"], stub["NodePool"]) == (
        "ready",
        "eligible",
        "default",
    )
    assert stub["Drivers"]["mock_driver"]["Healthy"] is True
    [more] = await cluster.get("/v1/nodes?resources=true")
    assert set(more) == {*NODE, "NodeResources", "ReservedResources"}
    assert {"Cpu", "Memory", "Disk", "Devices", "MinDynamicPort", "MaxDynamicPort"} <= set(
        more["NodeResources"]
    )
    whole = await cluster.get(f"/v1/node/{stub['ID']}")
    assert whole["NodeResources"]["Memory"] == more["NodeResources"]["Memory"]
    assert whole["Attributes"]["driver.mock_driver"] == "1"
    assert (await cluster.ask("GET", "/v1/node/00000000-0000-0000-0000-000000000000")).status == 404


async def test_a_closed_node_takes_nothing(cluster: Cluster) -> None:
    [node] = await cluster.get("/v1/nodes")
    path = f"/v1/node/{node['ID']}/eligibility"
    assert (await cluster.ask("PUT", path, {"Eligibility": "ineligible"})).status == 200
    try:
        job = await cluster.run()
        _, first = await cluster.evaluations(job, 2)
        assert first["FailedTGAllocs"]["lab"]["NodesEvaluated"] == 0
    finally:
        await cluster.ask("PUT", path, {"Eligibility": "eligible"})
    await cluster.allocation(job, "running")


async def test_variables_are_written_with_care(cluster: Cluster) -> None:
    path = "/v1/var/nomad/jobs/conformance"
    await cluster.ask("DELETE", path)
    first = await cluster.ask("PUT", f"{path}?cas=0", {"Items": {"a": "b"}})
    assert first.status == 200
    assert first.body["CreateIndex"] == first.body["ModifyIndex"] == first.index
    late = await cluster.ask("PUT", f"{path}?cas=0", {"Items": {"a": "c"}})
    assert (late.status, late.body["Items"]) == (409, {"a": "b"})
    blind = await cluster.ask("PUT", path, {"Items": {"a": "c"}})
    assert (blind.status, blind.body["CreateIndex"]) == (200, first.body["CreateIndex"])
    assert (await cluster.get(path))["Items"] == {"a": "c"}
    [listed] = await cluster.get("/v1/vars?prefix=nomad/jobs/conformance")
    assert "Items" not in listed
    assert [(await cluster.ask("DELETE", path)).status for _ in range(2)] == [204, 204]
    gone = await cluster.ask("GET", path)
    assert (gone.status, gone.body) == (404, "variable not found")
    empty = await cluster.ask("PUT", path, {"Items": {}})
    assert (empty.status, empty.body) == (400, "variable missing required Items object")
    wrong = await cluster.ask("PUT", f"{path}?cas=x", {"Items": {"a": "c"}})
    assert (wrong.status, wrong.body) == (
        400,
        'can not parse cas: strconv.ParseUint: parsing "x": invalid syntax',
    )


async def test_namespaces(cluster: Cluster) -> None:
    assert (await cluster.ask("PUT", "/v1/namespace/labs", {"Name": "labs"})).status == 200
    assert (await cluster.get("/v1/namespace/labs"))["Name"] == "labs"
    job = cluster.job()
    answer = await cluster.ask("POST", "/v1/jobs?namespace=labs", {"Job": {**job, "Namespace": "labs"}})
    assert answer.status == 200
    assert (await cluster.ask("GET", f"/v1/job/{job['ID']}")).status == 404
    assert (await cluster.get(f"/v1/job/{job['ID']}?namespace=labs"))["Namespace"] == "labs"
    everywhere = await cluster.get(f"/v1/jobs?namespace=*&prefix={job['ID']}")
    assert [one["Namespace"] for one in everywhere] == ["labs"]
    await cluster.ask("DELETE", f"/v1/job/{job['ID']}?namespace=labs&purge=true")
    missing = await cluster.ask("GET", "/v1/namespace/nope")
    assert (missing.status, missing.body) == (404, "Namespace not found")


async def test_settings_are_replaced_as_a_whole(cluster: Cluster) -> None:
    path = "/v1/operator/scheduler/configuration"
    before = (await cluster.get(path))["SchedulerConfig"]
    try:
        await cluster.ask(
            "PUT", path, {"MemoryOversubscriptionEnabled": True, "SchedulerAlgorithm": "spread"}
        )
        changed = await cluster.ask("PUT", path, {"SchedulerAlgorithm": "spread"})
        assert changed.body["Updated"] is True
        now = (await cluster.get(path))["SchedulerConfig"]
        assert (now["SchedulerAlgorithm"], now["MemoryOversubscriptionEnabled"]) == ("spread", False)
        late = await cluster.ask("PUT", f"{path}?cas=1", {"SchedulerAlgorithm": "binpack"})
        assert late.body["Updated"] is False
    finally:
        await cluster.ask("PUT", path, before)


async def test_the_agent_is_well(cluster: Cluster) -> None:
    assert await cluster.get("/v1/status/leader")
    assert (await cluster.get("/v1/agent/health"))["server"]["ok"] is True
    assert await cluster.get("/v1/regions") == ["global"]
