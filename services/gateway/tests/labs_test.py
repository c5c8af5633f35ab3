"""Labs that memory lacks: before the first snapshot, and when there are too many ended ones."""

import asyncio
from typing import Any

import pytest

from datalabs_contracts.labs import LabState
from datalabs_contracts.problems import ProblemCode, ProblemError

LABS = [f"kaaaaaaaa{letter}" for letter in "abcdef"]


async def listed(client: Any, path: str = "/api/v1/labs?limit=2") -> list[str]:
    seen: list[str] = []
    cursor = None
    while True:
        page = (await client.get(path + (f"&cursor={cursor}" if cursor else ""))).json()
        seen += [lab["id"] for lab in page["items"]]
        cursor = page["next"]
        if cursor is None:
            return seen


@pytest.fixture
def fakes(fakes: Any, a_lab: Any) -> Any:
    fakes.labs = {name: a_lab(name, state=LabState.STOPPED) for name in LABS}
    fakes.labs[LABS[0]] = a_lab(LABS[0])
    return fakes


async def test_before_the_first_snapshot_the_launcher_is_asked(stage: Any, fakes: Any) -> None:
    projection = stage.parts.projection
    projection.labs_settled = False
    for name in LABS:
        projection.labs._forget(name)
    client = await stage.signed_in("ada")
    assert sorted(await listed(client)) == LABS
    assert (await client.get(f"/api/v1/labs/{LABS[0]}")).json()["id"] == LABS[0]
    assert fakes.times("get_lab") == 1
    assert (await client.get(f"/api/v1/labs/{LABS[0]}")).status_code == 200
    assert fakes.times("get_lab") == 1


@pytest.mark.parametrize("gateway_settings", [{"ended_labs_in_memory": 2}])
async def test_what_memory_has_no_room_for_is_asked_for(stage: Any, fakes: Any) -> None:
    client = await stage.signed_in("ada")
    assert len(stage.parts.projection.labs) == 3
    assert sorted(await listed(client)) == LABS
    for name in LABS:
        assert (await client.get(f"/api/v1/labs/{name}")).status_code == 200
    assert len(stage.parts.projection.labs) == 3
    assert fakes.times("get_lab") >= 3


async def test_a_list_begun_in_memory_goes_on_at_the_launcher(stage: Any) -> None:
    client = await stage.signed_in("ada")
    first = (await client.get("/api/v1/labs?limit=2")).json()
    stage.parts.projection.labs_settled = False
    seen = [lab["id"] for lab in first["items"]]
    rest = await listed(client, "/api/v1/labs?limit=2&cursor=" + first["next"])
    assert set(seen) | set(rest) == set(LABS)


async def test_a_deleted_lab_is_no_more(stage: Any, fakes: Any, a_lab: Any) -> None:
    client = await stage.signed_in("ada")
    await fakes.tell_lab(a_lab(LABS[0], revision=6, state=LabState.STOPPING, deleted=True))
    await stage.until(lambda: stage.parts.projection.labs.entry(LABS[0]).lab.revision == 6)
    assert (await client.get(f"/api/v1/labs/{LABS[0]}")).json()["state"] == "stopping"
    fakes.labs.pop(LABS[0])
    await fakes.tell_lab(a_lab(LABS[0], revision=7, state=LabState.STOPPED, deleted=True))
    await stage.until(lambda: stage.parts.projection.labs.is_gone(LABS[0]))
    assert (await client.get(f"/api/v1/labs/{LABS[0]}")).status_code == 404
    assert LABS[0] not in await listed(client)
    assert fakes.times("get_lab") == 0


async def test_a_launcher_that_is_away_is_waited_for_under_a_key(stage: Any, fakes: Any) -> None:
    client = await stage.signed_in("ada")
    fakes.refuse["launch_lab"] = ProblemError(ProblemCode.SERVICE_UNAVAILABLE)
    refused = await client.post("/api/v1/labs", json={"datalab": "jupyterlab"})
    assert refused.json()["code"] == "service_unavailable"
    assert fakes.times("launch_lab") == 1

    async def come_back() -> None:
        await stage.until(lambda: fakes.times("launch_lab") >= 3)
        fakes.refuse.clear()

    back = asyncio.create_task(come_back())
    answer = await client.post(
        "/api/v1/labs", json={"datalab": "jupyterlab"}, headers={"idempotency-key": "one"}
    )
    await back
    assert answer.status_code == 202
