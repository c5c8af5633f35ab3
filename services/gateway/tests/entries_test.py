"""Into a lab: a one-time code, the lab's own session, the token of the edge's fast path; and out again."""

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey
from sqlalchemy import text

from datalabs_contracts.datalabs import Kind
from datalabs_contracts.labs import LabState
from datalabs_contracts.problems import ProblemCode, ProblemError

LAB = "k3v9x2mnpq"
OTHER = "kbbbbbbbbb"
NAVIGATION = {"accept": "text/html,*/*", "sec-fetch-mode": "navigate"}
FETCH = {"accept": "*/*", "sec-fetch-mode": "cors"}


@pytest.fixture
def fakes(fakes: Any, a_lab: Any) -> Any:
    fakes.labs = {LAB: a_lab(LAB), OTHER: a_lab(OTHER, "bob")}
    return fakes


def cookies_of(answer: Any) -> dict[str, str]:
    return dict(
        header.partition(";")[0].partition("=")[::2] for header in answer.headers.get_list("set-cookie")
    )


async def opened(client: Any, lab_id: str = LAB) -> str:
    answer = await client.post(f"/api/v1/labs/{lab_id}/open")
    assert answer.status_code == 200, answer.text
    url: str = answer.json()["url"]
    return url


async def entered(stage: Any, client: Any, lab_id: str = LAB) -> dict[str, str]:
    url = urlsplit(await opened(client, lab_id))
    answer = await stage.lab_client(lab_id).get(f"{url.path}?{url.query}", headers=NAVIGATION)
    assert answer.status_code == 302, answer.text
    return cookies_of(answer)


def claims_of(token: str, identities: Path) -> dict[str, Any]:
    key = ECKey.import_key((identities / "route.key").read_text())
    decoded = jwt.decode(token, key, algorithms=["ES256"])
    assert decoded.header["kid"] == "route"
    return dict(decoded.claims)


async def test_entering_a_lab(stage: Any, identities: Path) -> None:
    client = await stage.signed_in("ada")
    url = await opened(client)
    assert url.startswith(f"http://{LAB}.localhost:8080/.datalabs/enter?code=")
    parts = urlsplit(url)
    browser = stage.lab_client(LAB, **NAVIGATION)
    answer = await browser.get(f"{parts.path}?{parts.query}")
    assert answer.status_code == 302
    assert answer.headers["location"] == "/lab"
    for cookie in answer.headers.get_list("set-cookie"):
        for rule in ("Path=/", "Secure", "HttpOnly", "SameSite=Lax"):
            assert rule in cookie
        assert "Domain" not in cookie
    cookies = cookies_of(answer)
    assert sorted(cookies) == ["__Host-lab", "__Host-lab-session"]
    claims = claims_of(cookies["__Host-lab"], identities)
    assert claims["iss"] == "datalabs"
    assert claims["aud"] == f"{LAB}.localhost"
    assert claims["sub"] == "ada"
    assert claims["upstream"] == "127.8.3.1:8888"
    assert (claims["lab"], claims["attempt"]) == (LAB, 1)
    assert claims["trace"] == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert 0 < claims["exp"] - claims["iat"] <= 60

    again = await browser.get(f"{parts.path}?{parts.query}")
    assert again.status_code == 403
    assert "used already" in again.text
    # Whoever is in already may reload the entry.
    browser.headers["cookie"] = f"__Host-lab-session={cookies['__Host-lab-session']}"
    assert (await browser.get(f"{parts.path}?{parts.query}")).headers["location"] == "/lab"


async def test_a_code_is_for_one_lab_and_a_minute(stage: Any) -> None:
    client = await stage.signed_in("ada")
    parts = urlsplit(await opened(client))
    foreign = await stage.lab_client(OTHER, **NAVIGATION).get(f"{parts.path}?{parts.query}")
    assert foreign.status_code == 403
    assert "set-cookie" not in foreign.headers
    entries = stage.parts.gateway.entries
    entries._code_life = timedelta(seconds=-1)
    parts = urlsplit(await opened(client))
    late = await stage.lab_client(LAB, **NAVIGATION).get(f"{parts.path}?{parts.query}")
    assert late.status_code == 403
    for bad in ("", "?code=", "?code=" + "x" * 300, "?code=nonsense"):
        answer = await stage.lab_client(LAB, **NAVIGATION).get("/.datalabs/enter" + bad)
        assert answer.status_code == 403


async def test_the_edge_is_told_where_a_lab_is(stage: Any, identities: Path) -> None:
    client = await stage.signed_in("ada")
    cookies = await entered(stage, client)
    edge = stage.lab_client(LAB, cookie=f"__Host-lab-session={cookies['__Host-lab-session']}")
    answer = await edge.get("/edge/authorize/api/kernels?x=1", headers=FETCH)
    assert answer.status_code == 200
    assert answer.headers["x-lab-upstream"] == "127.8.3.1:8888"
    assert answer.headers["x-lab-id"] == LAB
    assert answer.headers["x-lab-attempt"] == "1"
    fresh = cookies_of(answer)["__Host-lab"]
    assert claims_of(fresh, identities)["lab"] == LAB
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert (await edge.request(method, "/edge/authorize/x")).status_code == 200
    assert stage.fakes.times("get_route") == 1


async def test_who_is_not_let_in_is_shown_the_way(stage: Any) -> None:
    answer = await stage.lab_client(LAB, **NAVIGATION).get("/edge/authorize/lab?x=1")
    assert answer.status_code == 302
    assert answer.headers["location"] == f"http://localhost:8080/labs/{LAB}/open"
    answer = await stage.lab_client(LAB, **FETCH).get("/edge/authorize/api")
    assert answer.status_code == 401
    assert answer.json()["code"] == "not_signed_in"
    socket = {**NAVIGATION, "upgrade": "websocket"}
    assert (await stage.lab_client(LAB, **socket).get("/edge/authorize/ws")).status_code == 401


async def test_the_platforms_cookie_opens_no_lab_and_a_labs_opens_no_other(stage: Any, a_lab: Any) -> None:
    stage.fakes.labs["kccccccccc"] = a_lab("kccccccccc")
    await stage.fakes.tell_lab(a_lab("kccccccccc", revision=6))
    client = await stage.signed_in("ada")
    cookies = await entered(stage, client)
    session = {"cookie": f"__Host-lab-session={cookies['__Host-lab-session']}"}
    elsewhere = await stage.lab_client("kccccccccc", **FETCH, **session).get("/edge/authorize/")
    assert elsewhere.status_code == 401
    platform = await stage.lab_client(LAB, **FETCH, cookie=client.headers["cookie"]).get("/edge/authorize/")
    assert platform.status_code == 401


async def test_the_edges_question_cannot_be_asked_from_outside(stage: Any) -> None:
    client = await stage.signed_in("ada")
    answer = await client.get("/edge/authorize/lab")
    assert answer.status_code == 404
    assert "x-lab-upstream" not in answer.headers
    # What the edge would route to the lab itself never gets an answer from here.
    assert (await stage.lab_client(LAB).get("/api/v1/me")).status_code == 404
    assert (await stage.lab_client(LAB).post("/.datalabs/enter?code=x")).status_code == 405
    assert (await stage.lab_client(LAB).get("/.datalabs/unknown")).status_code == 404


async def test_signing_out_ends_the_entry(stage: Any) -> None:
    client = await stage.signed_in("ada")
    cookies = await entered(stage, client)
    edge = stage.lab_client(LAB, **FETCH, cookie=f"__Host-lab-session={cookies['__Host-lab-session']}")
    assert (await edge.get("/edge/authorize/")).status_code == 200
    answer = await client.delete("/api/v1/session")
    assert answer.status_code == 204
    assert cookies_of(answer)["__Host-datalabs-session"] == ""
    refused = await edge.get("/edge/authorize/")
    assert refused.status_code == 401
    assert cookies_of(refused) == {"__Host-lab-session": "", "__Host-lab": ""}


async def test_a_session_that_ends_elsewhere_ends_the_entry(stage: Any, fakes: Any) -> None:
    client = await stage.signed_in("ada")
    cookies = await entered(stage, client)
    edge = stage.lab_client(LAB, **FETCH, cookie=f"__Host-lab-session={cookies['__Host-lab-session']}")
    (session,) = fakes.sessions.values()
    fakes.sessions.clear()
    await fakes.tell_session_ended(session)
    await stage.until(lambda: not stage.parts.gateway.sessions._known)
    assert (await edge.get("/edge/authorize/")).status_code == 401


async def test_a_stopped_lab_lets_nobody_in(stage: Any, fakes: Any, a_lab: Any) -> None:
    client = await stage.signed_in("ada")
    cookies = await entered(stage, client)
    session = {"cookie": f"__Host-lab-session={cookies['__Host-lab-session']}"}
    await fakes.tell_lab(a_lab(LAB, revision=6, state=LabState.STOPPED))
    await stage.until(lambda: stage.parts.projection.labs.entry(LAB).lab.revision == 6)
    page = await stage.lab_client(LAB, **NAVIGATION, **session).get("/edge/authorize/lab")
    assert page.status_code == 409
    assert "This lab has ended" in page.text
    assert f"http://localhost:8080/labs/{LAB}" in page.text
    answer = await stage.lab_client(LAB, **FETCH, **session).get("/edge/authorize/lab")
    assert answer.json()["code"] == "lab_ended"


async def test_a_lab_that_starts_again_is_waited_for_and_has_a_new_address(
    stage: Any, fakes: Any, a_lab: Any, identities: Path
) -> None:
    client = await stage.signed_in("ada")
    cookies = await entered(stage, client)
    session = {"cookie": f"__Host-lab-session={cookies['__Host-lab-session']}"}
    await fakes.tell_lab(a_lab(LAB, revision=6, state=LabState.STARTING, attempt=2))
    await stage.until(lambda: stage.parts.projection.labs.entry(LAB).lab.revision == 6)
    page = await stage.lab_client(LAB, **NAVIGATION, **session).get("/edge/authorize/lab")
    assert page.status_code == 409
    assert 'http-equiv="refresh"' in page.text
    fakes.labs[LAB] = a_lab(LAB, revision=7, attempt=2)
    fakes.route = lambda _: ("127.8.3.2", 9999)
    await fakes.tell_lab(fakes.labs[LAB])
    await stage.until(lambda: stage.parts.projection.labs.entry(LAB).lab.revision == 7)
    answer = await stage.lab_client(LAB, **FETCH, **session).get("/edge/authorize/lab")
    assert answer.headers["x-lab-upstream"] == "127.8.3.2:9999"
    assert claims_of(cookies_of(answer)["__Host-lab"], identities)["attempt"] == 2


async def test_only_ready_labs_of_ones_own_can_be_opened(stage: Any, fakes: Any, a_lab: Any) -> None:
    client, admin = await stage.signed_in("ada"), await stage.signed_in("admin")
    for revision, change, code in (
        (6, {"state": LabState.STARTING}, ProblemCode.LAB_NOT_READY),
        (7, {"state": LabState.STOPPING}, ProblemCode.LAB_ENDED),
        (8, {"state": LabState.FAILED}, ProblemCode.LAB_ENDED),
        (9, {"kind": Kind.BATCH}, ProblemCode.LAB_NOT_READY),
    ):
        await fakes.tell_lab(a_lab(LAB, revision=revision, **change))
        await stage.until(lambda: stage.parts.projection.labs.entry(LAB).lab.revision == revision)  # noqa: B023
        assert (await client.post(f"/api/v1/labs/{LAB}/open")).json()["code"] == code
    # Operators see every lab, but to enter one is to act with its owner's files.
    assert (await admin.post(f"/api/v1/labs/{OTHER}/open")).json()["code"] == "forbidden"


async def test_the_launcher_away_is_said_to_readers_and_programs(stage: Any, fakes: Any) -> None:
    client = await stage.signed_in("ada")
    fakes.refuse["get_route"] = ProblemError(ProblemCode.INTERNAL_ERROR)
    url = urlsplit(await opened(client))
    page = await stage.lab_client(LAB, **NAVIGATION).get(f"{url.path}?{url.query}")
    assert page.status_code == 500
    assert "starting again" in page.text
    fakes.refuse["get_route"] = ProblemError(ProblemCode.LAB_NOT_READY)
    url = urlsplit(await opened(client))
    page = await stage.lab_client(LAB, **NAVIGATION).get(f"{url.path}?{url.query}")
    assert page.status_code == 409


async def test_secrets_are_stored_only_as_hashes(stage: Any) -> None:
    client = await stage.signed_in("ada")
    url = await opened(client)
    cookies = await entered(stage, client)
    store = stage.parts.gateway.entries._store
    async with store._database.reading() as session:
        rows = [
            dict(row._mapping)
            for table in ("entry_codes", "lab_sessions")
            for row in await session.execute(text(f"SELECT * FROM {table}"))
        ]
    said = json.dumps(rows, default=str)
    assert len(rows) == 2
    for secret in (url.rpartition("=")[2], cookies["__Host-lab-session"]):
        assert secret not in said


async def test_a_database_that_dies_is_waited_for(stage: Any, servers: Any) -> None:
    client = await stage.signed_in("ada")
    _, postgres = servers
    postgres.kill()
    waiting = asyncio.create_task(client.post(f"/api/v1/labs/{LAB}/open"))
    assert (await client.get(f"/api/v1/labs/{LAB}")).status_code == 200
    await asyncio.to_thread(postgres.start)
    assert (await waiting).status_code == 200


async def test_a_circle_of_openings_ends(stage: Any) -> None:
    client = await stage.signed_in("ada")
    answers = [await client.post(f"/api/v1/labs/{LAB}/open") for _ in range(25)]
    assert [answer.status_code for answer in answers[:20]] == [200] * 20
    assert answers[-1].json()["code"] == "rate_limited"


async def test_a_forwarded_port_is_kept(stage: Any) -> None:
    client = await stage.signed_in("ada")
    answer = await client.post(f"/api/v1/labs/{LAB}/open", headers={"host": "localhost:9000"})
    assert answer.json()["url"].startswith(f"http://{LAB}.localhost:9000/")
    answer = await stage.client(f"{LAB}.localhost:9000", **NAVIGATION).get("/edge/authorize/")
    assert answer.headers["location"].startswith("http://localhost:9000/labs/")


async def test_what_ran_out_is_pruned(stage: Any) -> None:
    client = await stage.signed_in("ada")
    entries = stage.parts.gateway.entries
    entries._code_life = timedelta(seconds=-1)
    await opened(client)
    await entries.prune()
    async with entries._store._database.reading() as session:
        assert await session.scalar(text("SELECT count(*) FROM entry_codes")) == 0
