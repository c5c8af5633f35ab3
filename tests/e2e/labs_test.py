"""The life of labs through the public interface, on the whole platform."""

import asyncio
from datetime import timedelta
from typing import Any

import httpx2
import pytest

from datalabs_client import Datalabs, LabEndedError
from datalabs_contracts.labs import LabState, Reason
from datalabs_contracts.problems import ProblemCode, ProblemError
from datalabs_testing.waiting import eventually
from tests.running import RunningPlatform

pytestmark = pytest.mark.e2e


async def test_from_launch_to_usage(ada: Datalabs) -> None:
    lab = await ada.launch("stub", name="First look")
    ready = await lab.ready(timeout=60)
    assert (ready.name, ready.owner, ready.state) == ("First look", "ada", LabState.READY)
    async with ada.visit(await lab.open()) as browser:
        assert (await browser.get("/anything")).text == "ok"
    stopped = await lab.stop()
    stopped = await lab.until(lambda lab: lab.state.ended, timeout=20)
    assert (stopped.state, stopped.reason) == (LabState.STOPPED, Reason.STOPPED_BY_USER)
    assert stopped.started_at is not None
    assert stopped.ended_at is not None
    life = (stopped.ended_at - stopped.started_at).total_seconds()
    row = await eventually(lambda: usage_of(ada, lab.id), seconds=15, pause=0.1)
    assert abs(row["seconds"] - life) < 0.01
    assert row["core_seconds"] == pytest.approx(life * stopped.cores, rel=1e-3)
    assert row["gib_seconds"] == pytest.approx(life * stopped.memory_mib / 1024, rel=1e-3)


async def usage_of(datalabs: Datalabs, lab_id: str) -> dict[str, Any] | None:
    async for row in datalabs.items("/usage", by="lab"):
        if row["lab"] == lab_id and not row["running"]:
            return row
    return None


async def test_the_lab_side(ada: Datalabs) -> None:
    lab = await ada.launch("stub")
    await lab.ready(timeout=60)
    async with ada.visit(await lab.open()) as browser:
        environment = (await browser.get("/environment")).json()
        seen = (await browser.get("/headers", headers={"Authorization": "Bearer x"})).text.lower()
    assert environment["DATALABS_LAB_ID"] == environment["DATALAB_ID"] == lab.id
    assert environment["DATALABS_PORT"] == environment["IF_main_port"]
    assert {"DATALABS_API_URL", "DATALABS_TOKEN_FILE", "TRACEPARENT", "OTEL_EXPORTER_OTLP_ENDPOINT"} <= set(
        environment
    )
    assert "x-lab-secret: " in seen
    assert "__host-" not in seen
    assert "authorization" not in seen


async def test_a_lab_reads_its_collections(ada: Datalabs) -> None:
    lab = await ada.launch("stub")
    await lab.ready(timeout=60)
    async with ada.visit(await lab.open()) as browser:
        assert (await browser.get("/read/data/numbers/primes.txt")).text.startswith("2 3 5 7")
    [collection] = [item async for item in ada.items("/collections")]
    assert (collection["id"], collection["path"], collection["available"]) == (
        "numbers",
        "/data/numbers",
        True,
    )


async def test_a_silent_lab_times_out_with_its_last_lines(ada: Datalabs) -> None:
    lab = await ada.launch("silent")
    with pytest.raises(LabEndedError) as ended:
        await lab.ready(timeout=60)
    assert ended.value.lab.reason is Reason.START_TIMEOUT
    assert any("nothing more" in line for line in ended.value.lab.last_lines)


async def test_a_lab_that_exits_at_once_has_crashed(ada: Datalabs) -> None:
    lab = await ada.launch("exits")
    with pytest.raises(LabEndedError) as ended:
        await lab.ready(timeout=60)
    assert (ended.value.lab.reason, ended.value.lab.exit_code) == (Reason.CRASHED, 3)
    assert any("licence server" in line for line in ended.value.lab.last_lines)


async def test_eating_all_memory_is_told_from_a_crash(ada: Datalabs) -> None:
    lab = await ada.launch("hungry")
    with pytest.raises(LabEndedError) as ended:
        await lab.ready(timeout=90)
    assert ended.value.lab.reason is Reason.OUT_OF_MEMORY


@pytest.mark.parametrize(
    ("code", "state", "reason"),
    [(0, LabState.STOPPED, Reason.COMPLETED), (7, LabState.FAILED, Reason.CRASHED)],
)
async def test_a_batch_lab_ends_by_itself(ada: Datalabs, code: int, state: LabState, reason: Reason) -> None:
    lab = await ada.launch("batch", parameters={"code": code})
    ended = await lab.until(lambda lab: lab.state.ended, timeout=60)
    assert (ended.state, ended.reason, ended.exit_code) == (state, reason, code)
    logs = await ada.call("GET", f"/labs/{lab.id}/logs")
    assert f"ending with {code}" in logs["lines"]


async def test_two_clicks_make_one_lab(ada: Datalabs) -> None:
    first, second = await asyncio.gather(*(ada.launch("stub", idempotency_key="twice") for _ in range(2)))
    assert first.id == second.id
    with pytest.raises(ProblemError) as refused:
        await ada.launch("stub", idempotency_key="twice", name="another")
    assert refused.value.code is ProblemCode.IDEMPOTENCY_MISMATCH


@pytest.mark.parametrize("wait_for", [LabState.QUEUED, LabState.PREPARING, LabState.STARTING, LabState.READY])
async def test_stop_works_in_every_state(ada: Datalabs, wait_for: LabState) -> None:
    lab = await ada.launch("silent" if wait_for is not LabState.READY else "stub")
    order = list(LabState)
    await lab.until(lambda lab: order.index(lab.state) >= order.index(wait_for), timeout=60)
    await lab.stop()
    ended = await lab.until(lambda lab: lab.state.ended, timeout=20)
    assert (ended.state, ended.reason) == (LabState.STOPPED, Reason.STOPPED_BY_USER)


async def test_restart_keeps_the_id_and_makes_a_new_attempt(ada: Datalabs) -> None:
    lab = await ada.launch("stub")
    await lab.ready(timeout=60)
    await lab.stop()
    await lab.until(lambda lab: lab.state.ended, timeout=20)
    await ada.call("POST", f"/labs/{lab.id}/restart", {})
    again = await lab.until(lambda lab: lab.state is LabState.READY, timeout=60)
    assert (again.id, again.attempt) == (lab.id, 2)


async def test_extend_moves_the_expiry(ada: Datalabs) -> None:
    lab = await ada.launch("stub")
    before = (await lab.ready(timeout=60)).expires_at
    assert before is not None
    await ada.call("POST", f"/labs/{lab.id}/extend", {"seconds": 24 * 3600})
    after = (await lab.refresh()).expires_at
    assert after is not None
    assert after > before + timedelta(hours=6)


async def test_over_ones_limit(ada: Datalabs) -> None:
    me = await ada.me()
    most = me["limits"]["max_labs"]
    labs = [await ada.launch("stub") for _ in range(most)]
    await asyncio.gather(*(lab.ready(timeout=60) for lab in labs))
    with pytest.raises(ProblemError) as refused:
        await ada.launch("stub")
    assert (refused.value.code, refused.value.status) == (ProblemCode.QUOTA_EXCEEDED, 409)
    await labs[0].stop()
    await labs[0].until(lambda lab: lab.state.ended, timeout=20)

    async def fits() -> bool:
        return bool((await ada.preflight("stub")).fit == "now")

    await eventually(fits, seconds=15, pause=0.1)
    await (await ada.launch("stub")).ready(timeout=60)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"datalab": "nothing-here"}, 404, "unknown_datalab"),
        ({"datalab": "stub", "version": "9"}, 422, "unknown_version"),
        ({"datalab": "stub", "size": "huge"}, 422, "unknown_size"),
        ({"datalab": "stub", "parameters": {"colour": "blue"}}, 422, "invalid_parameters"),
        ({"datalab": "stub", "parameters": {"taste": "salty"}}, 422, "invalid_parameters"),
        ({"datalab": "stub", "collections": ["nowhere"]}, 422, "unknown_collection"),
        ({"datalab": "stub", "colour": "red"}, 422, "invalid_request"),
        ({"datalab": 7}, 422, "invalid_request"),
        ({}, 422, "invalid_request"),
    ],
)
async def test_bad_launches_are_refused_by_name(
    ada: Datalabs, body: dict[str, Any], status: int, code: str
) -> None:
    answer = await ada.http.post("/api/v1/labs", json=body)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["title"]


async def test_a_body_of_10_mb_is_refused(ada: Datalabs) -> None:
    answer = await ada.http.post(
        "/api/v1/labs",
        content=b'{"datalab": "' + b"x" * 10_000_000 + b'"}',
        headers={"content-type": "application/json"},
    )
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


async def test_a_foreign_lab_is_not_there(platform: RunningPlatform, ada: Datalabs, admin: Datalabs) -> None:
    await admin.call(
        "POST", "/people", {"username": "bob", "password": "correct horse battery", "roles": ["user"]}
    )
    lab = await ada.launch("stub")
    await lab.ready(timeout=60)
    async with Datalabs(platform.url, username="bob", password="correct horse battery") as bob:
        for method, path in (
            ("GET", ""), ("POST", "/open"), ("POST", "/stop"), ("POST", "/restart"), ("POST", "/extend"),
            ("GET", "/timeline"), ("GET", "/logs"), ("GET", "/metrics"), ("DELETE", ""),
        ):  # fmt: skip
            answer = await bob.http.request(
                method, f"/api/v1/labs/{lab.id}{path}", json={} if method == "POST" else None
            )
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), path
        assert await bob.labs() == []


async def test_another_sites_page_cannot_launch(ada: Datalabs) -> None:
    answer = await ada.http.post(
        "/api/v1/labs", json={"datalab": "stub"}, headers={"origin": "http://evil.example"}
    )
    assert (answer.status_code, answer.json()["code"]) == (403, "foreign_origin")


async def test_signed_out_in_the_middle_of_work(platform: RunningPlatform) -> None:
    async with platform.client("ada") as datalabs:
        await datalabs.me()
        cookies = dict(datalabs.http.cookies)
        await datalabs.call("DELETE", "/session")
        headers = {"cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{platform.port}", trust_env=False) as http:
            answer = await http.get("/api/v1/me", headers={**headers, "host": f"localhost:{platform.port}"})
        assert answer.status_code == 401
        assert answer.json()["code"] in {"session_expired", "not_signed_in"}


async def test_a_cookie_of_one_lab_opens_no_other(ada: Datalabs) -> None:
    first, second = [await ada.launch("stub") for _ in range(2)]
    await asyncio.gather(first.ready(timeout=60), second.ready(timeout=60))
    async with ada.visit(await first.open()) as browser:
        stolen = "; ".join(f"{cookie.name}={cookie.value}" for cookie in browser.cookies.jar)
        assert "__Host-lab" in stolen
        host = f"{second.id}.localhost"
        answer = await browser.get(
            str(browser.base_url).replace(first.id, second.id),
            headers={"cookie": stolen, "host": host},
            follow_redirects=False,
        )
        assert answer.status_code in {302, 303, 307, 401, 403}
        assert answer.text != "ok"
