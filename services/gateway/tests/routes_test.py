"""Every route: its answer for somebody who may, and its refusals."""

import asyncio
import json
from typing import Any

import pytest

from datalabs_contracts.labs import LabState
from datalabs_contracts.problems import CATALOGUE, PROBLEM_BASE, ProblemCode, ProblemError

LAB = "k3v9x2mnpq"
FOREIGN = "kqqqqqqqqq"

READS = [
    "/me",
    "/limits",
    "/config",
    "/datalabs",
    "/datalabs?q=jup&kind=notebook&domain=astronomy&limit=5",
    "/datalabs/jupyterlab",
    "/datalabs/jupyterlab/icon",
    "/sizes",
    "/collections",
    "/labs",
    "/labs?include_ended=false&limit=2",
    f"/labs/{LAB}",
    f"/labs/{LAB}/timeline?attempt=1",
    f"/labs/{LAB}/logs?lines=5",
    f"/labs/{LAB}/metrics",
    "/volumes?measure=true",
    "/capacity",
    "/usage?from=2026-11-01T00:00:00Z&to=2026-11-22T00:00:00Z&by=day",
]
OPERATORS_READS = [
    "/people",
    "/events/history?entity=lab&limit=5",
    "/traces?errors_only=true&name=launch&service=edge&min_seconds=1",
    "/catalogue/problems",
    "/people/bob/limits",
    f"/traces/{'a' * 32}",
    "/dead-letters",
    "/platform",
    "/labs?all=true",
    "/labs?owner=bob",
    "/usage?all=true",
    f"/labs/{FOREIGN}",
]
CHANGES = [
    ("POST", "/labs:preflight", {"datalab": "jupyterlab"}, 200),
    ("POST", "/labs", {"datalab": "jupyterlab"}, 202),
    ("POST", f"/labs/{LAB}/open", None, 200),
    ("POST", f"/labs/{LAB}/extend", {"seconds": 60}, 200),
    ("POST", f"/labs/{LAB}/extend", None, 200),
    ("POST", f"/labs/{LAB}/stop", None, 202),
    ("POST", f"/labs/{LAB}/restart", {"size": "small"}, 202),
    ("DELETE", f"/labs/{LAB}", None, 202),
]
OPERATORS_CHANGES = [
    ("POST", "/people", {"username": "grace"}, 201),
    ("POST", "/dead-letters/d1/replay", None, 202),
    ("PUT", "/people/bob/limits", {"max_labs": 2}, 200),
]


@pytest.fixture
def fakes(fakes: Any, a_lab: Any) -> Any:
    fakes.labs = {LAB: a_lab(LAB), FOREIGN: a_lab(FOREIGN, "bob")}
    return fakes


def assert_problem(answer: Any, code: ProblemCode) -> dict[str, Any]:
    assert answer.status_code == CATALOGUE[code][0], answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem["code"] == code
    assert problem["type"] == PROBLEM_BASE + code
    assert problem["status"] == answer.status_code
    assert len(problem["trace_id"]) == 32
    return problem


async def test_every_read_answers(stage: Any) -> None:
    client = await stage.signed_in("ada")
    for path in READS:
        answer = await client.get("/api/v1" + path)
        assert answer.status_code == 200, (path, answer.text)


async def test_every_operators_read_answers_operators_only(stage: Any) -> None:
    admin, ada = await stage.signed_in("admin"), await stage.signed_in("ada")
    for path in OPERATORS_READS:
        answer = await admin.get("/api/v1" + path)
        assert answer.status_code == 200, (path, answer.text)
        refused = await ada.get("/api/v1" + path)
        assert refused.json()["code"] in {"forbidden", "not_found"}, path


async def test_every_change_answers(stage: Any) -> None:
    client = await stage.signed_in("ada")
    for method, path, body, status in CHANGES:
        answer = await client.request(method, "/api/v1" + path, json=body)
        assert answer.status_code == status, (path, answer.text)


async def test_filters_of_traces_reach_the_observer(stage: Any) -> None:
    admin = await stage.signed_in("admin")
    await admin.get("/api/v1/traces?name=launch&service=edge&errors_only=true&min_seconds=2.5")
    query, _ = stage.fakes.last("list_traces")
    assert (query.name, query.service, query.errors_only, query.min_seconds) == ("launch", "edge", True, 2.5)


async def test_limits_are_set_for_people_there_are(stage: Any) -> None:
    admin = await stage.signed_in("admin")
    body = {"max_labs": 2, "max_cores": 12.5}
    told = await admin.put("/api/v1/people/bob/limits", json=body)
    assert told.json()["own"] == {
        "unlimited": False,
        "max_labs": 2,
        "max_cores": 12.5,
        "max_memory_mib": None,
    }
    asked, call = stage.fakes.last("set_limits")
    assert (asked.owner, call.identity.username) == ("bob", "admin")
    # An operator has no limits, whatever is set.
    await admin.get("/api/v1/people/admin/limits")
    assert stage.fakes.last("get_person_limits")[0].unlimited
    assert_problem(await admin.put("/api/v1/people/nobody/limits", json=body), ProblemCode.NOT_FOUND)
    for bad in ({"max_labs": -1}, {"max_labs": 1.5}, {"max_cores": "many"}, {"labs": 3}, []):
        refused = await admin.put("/api/v1/people/bob/limits", json=bad)
        assert_problem(refused, ProblemCode.INVALID_REQUEST)
    foreign = await admin.put(
        "/api/v1/people/bob/limits", json=body, headers={"origin": "https://evil.example"}
    )
    assert_problem(foreign, ProblemCode.FOREIGN_ORIGIN)
    assert stage.fakes.times("set_limits") == 1


async def test_operators_changes_are_for_operators(stage: Any) -> None:
    admin, ada = await stage.signed_in("admin"), await stage.signed_in("ada")
    for method, path, body, status in OPERATORS_CHANGES:
        assert_problem(await ada.request(method, "/api/v1" + path, json=body), ProblemCode.FORBIDDEN)
        answer = await admin.request(method, "/api/v1" + path, json=body)
        assert answer.status_code == status, answer.text


async def test_nothing_answers_without_a_session(stage: Any) -> None:
    client = stage.client()
    for path in READS + OPERATORS_READS:
        assert_problem(await client.get("/api/v1" + path), ProblemCode.NOT_SIGNED_IN)
    for method, path, body, _ in CHANGES + OPERATORS_CHANGES:
        answer = await client.request(method, "/api/v1" + path, json=body)
        assert_problem(answer, ProblemCode.NOT_SIGNED_IN)
    assert_problem(await client.get("/api/v1/nowhere"), ProblemCode.NOT_SIGNED_IN)
    for path in ("/providers", "/openapi.json"):
        assert (await client.get("/api/v1" + path)).status_code == 200
    for path in ("/health/live", "/health/ready"):
        assert (await client.get(path)).json()["status"] == "ok"


async def test_a_foreign_lab_is_not_there_whatever_is_asked_of_it(stage: Any) -> None:
    client = await stage.signed_in("ada")
    for path in ("", "/timeline", "/logs", "/metrics"):
        assert_problem(await client.get(f"/api/v1/labs/{FOREIGN}{path}"), ProblemCode.NOT_FOUND)
        assert_problem(await client.get(f"/api/v1/labs/zzzzzzzzzz{path}"), ProblemCode.NOT_FOUND)
        assert_problem(await client.get(f"/api/v1/labs/NOT-A-LAB{path}"), ProblemCode.NOT_FOUND)
    for path in ("open", "stop", "restart", "extend"):
        # Found before validated: not even a broken body tells whether the lab is there.
        answer = await client.post(f"/api/v1/labs/{FOREIGN}/{path}", content=b"{broken")
        assert_problem(answer, ProblemCode.NOT_FOUND)
    assert_problem(await client.delete(f"/api/v1/labs/{FOREIGN}"), ProblemCode.NOT_FOUND)


async def test_a_body_of_another_form_is_told_where(stage: Any) -> None:
    client = await stage.signed_in("ada")
    for body, pointer in (
        ({"datalab": "jupyterlab", "sise": "small"}, "/sise"),
        ({"datalab": "Not A Slug"}, "/datalab"),
        ({}, "/datalab"),
        ({"datalab": "jupyterlab", "volumes": "home"}, "/volumes"),
    ):
        problem = assert_problem(await client.post("/api/v1/labs", json=body), ProblemCode.INVALID_REQUEST)
        assert pointer in [error["pointer"] for error in problem["errors"]]


async def test_what_is_no_json_is_refused(stage: Any) -> None:
    client = await stage.signed_in("ada")
    for content in (b"{broken", b"", b"[]", b"\xff\xfe", b"null"):
        answer = await client.post(
            "/api/v1/labs", content=content, headers={"content-type": "application/json"}
        )
        assert_problem(answer, ProblemCode.INVALID_REQUEST)


async def test_queries_and_cursors_of_another_form_are_refused(stage: Any) -> None:
    client = await stage.signed_in("ada")
    for path in (
        "/labs?limit=0",
        "/labs?limit=x",
        "/usage?by=week",
        "/usage?from=yesterday",
        "/datalabs?kind=toy",
    ):
        assert_problem(await client.get("/api/v1" + path), ProblemCode.INVALID_REQUEST)
    backwards = "/usage?from=2026-11-22T00:00:00Z&to=2026-11-01T00:00:00Z"
    assert_problem(await client.get("/api/v1" + backwards), ProblemCode.INVALID_REQUEST)
    assert_problem(await client.get("/api/v1/collections?cursor=nonsense"), ProblemCode.INVALID_CURSOR)


async def test_unknown_addresses_and_methods_are_problems_too(stage: Any) -> None:
    client = await stage.signed_in("ada")
    assert_problem(await client.get("/api/v1/nowhere"), ProblemCode.NOT_FOUND)
    refused = await client.put("/api/v1/labs", json={})
    assert_problem(refused, ProblemCode.METHOD_NOT_ALLOWED)
    assert "POST" in refused.headers["allow"]
    assert_problem(await client.get("/api/v1/datalabs/no such thing"), ProblemCode.UNKNOWN_DATALAB)
    assert_problem(await client.get("/api/v1/datalabs/unknown"), ProblemCode.UNKNOWN_DATALAB)
    assert_problem(await client.get("/api/v1/collections/unknown"), ProblemCode.NOT_FOUND)
    admin = await stage.signed_in("admin")
    assert_problem(await admin.get("/api/v1/traces/xyz"), ProblemCode.NOT_FOUND)


async def test_every_code_of_a_service_reaches_the_caller(stage: Any, fakes: Any) -> None:
    client = await stage.signed_in("ada")
    for code in ProblemCode:
        fakes.refuse["launch_lab"] = ProblemError(code, "Because.", retry_after=2, limit=4)
        answer = await client.post("/api/v1/labs", json={"datalab": "jupyterlab"})
        problem = assert_problem(answer, code)
        assert problem["detail"] == "Because."
        assert problem["extra"] == {"limit": 4}
        assert answer.headers["retry-after"] == "2"


async def test_an_idempotency_key_gives_the_same_lab(stage: Any, fakes: Any) -> None:
    client = await stage.signed_in("ada")
    key = {"idempotency-key": "one-click"}
    body = {"datalab": "jupyterlab"}
    first, second = await asyncio.gather(
        client.post("/api/v1/labs", json=body, headers=key),
        client.post("/api/v1/labs", json=body, headers=key),
    )
    assert first.json()["id"] == second.json()["id"]
    assert first.headers["location"] == f"/api/v1/labs/{first.json()['id']}"
    other = await client.post("/api/v1/labs", json={**body, "name": "Other"}, headers=key)
    assert_problem(other, ProblemCode.IDEMPOTENCY_MISMATCH)
    assert fakes.last("launch_lab")[0].idempotency_key == "one-click"


async def test_an_account_is_made_once_for_a_key(stage: Any, fakes: Any) -> None:
    admin = await stage.signed_in("admin")
    key = {"idempotency-key": "make-grace"}
    first = await admin.post("/api/v1/people", json={"username": "grace"}, headers=key)
    again = await admin.post("/api/v1/people", json={"username": "grace"}, headers=key)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert first.json()["password"] == "made-for-you"
    assert fakes.times("create_person") == 1
    other = await admin.post("/api/v1/people", json={"username": "emmy"}, headers=key)
    assert_problem(other, ProblemCode.IDEMPOTENCY_MISMATCH)
    assert_problem(await admin.post("/api/v1/people", json={"username": "grace"}), ProblemCode.USERNAME_TAKEN)


async def test_a_refused_request_gives_its_key_back(stage: Any, fakes: Any) -> None:
    client = await stage.signed_in("ada")
    key = {"idempotency-key": "again"}
    fakes.refuse["restart_lab"] = ProblemError(ProblemCode.LAB_STILL_RUNNING)
    assert_problem(
        await client.post(f"/api/v1/labs/{LAB}/restart", headers=key), ProblemCode.LAB_STILL_RUNNING
    )
    fakes.refuse.clear()
    assert (await client.post(f"/api/v1/labs/{LAB}/restart", headers=key)).status_code == 202
    assert (await client.post(f"/api/v1/labs/{LAB}/restart", headers=key)).json()["attempt"] == 2
    assert fakes.times("restart_lab") == 2


async def test_a_caller_reads_their_own_write(stage: Any) -> None:
    client = await stage.signed_in("ada")
    lab = (await client.post("/api/v1/labs", json={"datalab": "jupyterlab"})).json()
    assert (await client.get(f"/api/v1/labs/{lab['id']}")).json() == lab
    assert (await client.get("/api/v1/labs")).json()["items"][0] == lab


async def test_lists_come_in_pages(stage: Any, fakes: Any, a_lab: Any) -> None:
    for number in range(5):
        lab = a_lab(f"kab{'abcde'[number]}abcabc", owner="admin", state=LabState.STOPPED)
        await fakes.tell_lab(lab)
    admin = await stage.signed_in("admin")
    await stage.until(lambda: len(stage.parts.projection.labs) == 7)
    seen: list[str] = []
    path = "/api/v1/labs?limit=2"
    while True:
        page = (await admin.get(path)).json()
        seen += [lab["id"] for lab in page["items"]]
        if page["next"] is None:
            break
        path = f"/api/v1/labs?limit=2&cursor={page['next']}"
    assert len(seen) == len(set(seen)) == 5
    assert (await admin.get("/api/v1/labs?include_ended=false")).json()["items"] == []


async def test_sizes_and_the_rest_speak_as_the_person(stage: Any, fakes: Any) -> None:
    client = await stage.signed_in("ada")
    await client.get("/api/v1/sizes")
    _, call = fakes.last("list_sizes")
    assert call.identity.username == "ada"
    assert call.identity.session is not None


async def test_the_served_openapi_is_the_committed_one(stage: Any) -> None:
    document = json.loads((await stage.client().get("/api/v1/openapi.json")).content)
    assert document["openapi"] == "3.1.0"
    assert "/api/v1/labs/{lab_id}/open" in document["paths"]
