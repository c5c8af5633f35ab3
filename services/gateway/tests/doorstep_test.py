"""What is ours on a lab's origin beside the entrance: the desktop's page, the lab's state and events, more time."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from datalabs_contracts import events
from datalabs_contracts.datalabs import Kind
from datalabs_contracts.labs import LabFact, LabState

LAB = "k3v9x2mnpq"
HOST = f"{LAB}.localhost:8080"
ORIGIN = f"http://{HOST}"
NAVIGATION = {"accept": "text/html,*/*", "sec-fetch-mode": "navigate"}
PAGE = b'<!doctype html><script type="module" src="/.datalabs/assets/index-1a.js"></script>'


@pytest.fixture
def fakes(fakes: Any, a_lab: Any) -> Any:
    fakes.labs = {LAB: a_lab(LAB, kind=Kind.DESKTOP)}
    return fakes


@pytest.fixture
def built(stage: Any) -> None:
    assets: Path = stage.folder / "dashboard" / "desktop" / "assets"
    assets.mkdir(parents=True)
    (assets.parent / "index.html").write_bytes(PAGE)
    (assets / "index-1a.js").write_bytes(b"console.log(1)")
    (stage.folder / "dashboard" / "index.html").write_bytes(b"the dashboard")


async def let_in(stage: Any, username: str = "ada") -> str:
    """Enter the lab as its owner and return the cookie of the lab's origin."""
    client = await stage.signed_in(username)
    url: str = (await client.post(f"/api/v1/labs/{LAB}/open")).json()["url"]
    answer = await stage.lab_client(LAB).get(url.removeprefix(ORIGIN), headers=NAVIGATION)
    for header in answer.headers.get_list("set-cookie"):
        if header.startswith("__Host-lab-session="):
            return str(header.partition(";")[0])
    raise AssertionError(answer.text)


@pytest.mark.usefixtures("built")
async def test_the_desktops_page_is_for_whoever_was_let_in(stage: Any) -> None:
    stranger = await stage.lab_client(LAB, **NAVIGATION).get("/.datalabs/desktop")
    assert stranger.status_code == 302
    assert stranger.headers["location"] == f"http://localhost:8080/labs/{LAB}/open"
    page = await stage.lab_client(LAB, **NAVIGATION, cookie=await let_in(stage)).get("/.datalabs/desktop")
    assert (page.status_code, page.content) == (200, PAGE)
    assert page.headers["cache-control"] == "no-cache"
    assert page.headers["x-frame-options"] == "DENY"
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
    assert f"connect-src 'self' ws://{HOST};" in policy
    assert "unsafe" not in policy
    # Its WebSocket takes the fast path at once.
    assert any(header.startswith("__Host-lab=") for header in page.headers.get_list("set-cookie"))


@pytest.mark.usefixtures("built")
async def test_its_files_lie_on_labs_origins_only(stage: Any) -> None:
    lab, platform = stage.lab_client(LAB), stage.client()
    script = await lab.get("/.datalabs/assets/index-1a.js")
    assert script.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert script.headers["content-type"].startswith("text/javascript")
    for path in ("/.datalabs/assets/other.js", "/.datalabs/assets/../index.html", "/.datalabs/assets/"):
        assert (await lab.get(path)).status_code == 404
    for path in ("/desktop/index.html", "/desktop/assets/index-1a.js"):
        assert (await platform.get(path)).status_code == 404
    assert (await platform.get("/desktop")).content == b"the dashboard"


async def test_a_desktop_that_is_not_built_is_said(stage: Any) -> None:
    client = stage.lab_client(LAB, **NAVIGATION, cookie=await let_in(stage))
    assert (await client.get("/.datalabs/desktop")).status_code == 503


async def test_the_lab_is_told_to_its_own_pages_whatever_its_state(stage: Any, a_lab: Any) -> None:
    client = stage.lab_client(LAB, cookie=await let_in(stage))
    answer = await client.get("/.datalabs/lab")
    assert answer.headers["set-cookie"].startswith("__Host-lab=")
    told = answer.json()
    assert (told["lab"]["id"], told["lab"]["state"]) == (LAB, "ready")
    assert told["page"] == f"http://localhost:8080/labs/{LAB}"
    await stage.fakes.tell_lab(a_lab(LAB, revision=6, kind=Kind.DESKTOP, state=LabState.FAILED))
    await stage.until(lambda: stage.parts.projection.labs.entry(LAB).lab.revision == 6)
    answer = await client.get("/.datalabs/lab")
    assert answer.json()["lab"]["state"] == "failed"
    assert "set-cookie" not in answer.headers
    stranger = await stage.lab_client(LAB).get("/.datalabs/lab")
    assert (stranger.status_code, stranger.json()["code"]) == (401, "not_signed_in")
    answers = [await client.get("/.datalabs/lab") for _ in range(40)]
    assert answers[-1].json()["code"] == "rate_limited"


async def test_what_happens_to_the_lab_comes_by_itself(stage: Any, a_lab: Any) -> None:
    client = stage.lab_client(LAB, cookie=await let_in(stage))
    async with asyncio.timeout(10), client.stream("GET", "/.datalabs/events") as stream:
        lines = stream.aiter_lines()
        async for line in lines:
            if line == "event: hello":
                break
        # Another lab's facts are not told here.
        await stage.fakes.tell_lab(a_lab("kccccccccc", revision=2))
        lab = a_lab(LAB, revision=7, kind=Kind.DESKTOP)
        fact = LabFact(
            lab=lab,
            revision=7,
            owner="ada",
            actor="service:launcher",
            detail={"minutes": 5, "reason": "idle"},
        )
        await stage.fakes.tell(events.LAB_EXPIRING, LAB, fact)
        async for line in lines:
            if line.startswith("data: ") and "entity_id" in line:
                told = json.loads(line.removeprefix("data: "))
                break
    assert (told["entity_id"], told["fact"]) == (LAB, "expiring")
    assert told["data"]["detail"] == {"minutes": 5, "reason": "idle"}
    await stage.until(lambda: stage.parts.gateway.live.followers == 0)


async def test_more_time_is_given_to_our_page_only(stage: Any, a_lab: Any) -> None:
    client = stage.lab_client(LAB, cookie=await let_in(stage))
    for origin in (
        {},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:8080"},
    ):
        refused = await client.post("/.datalabs/extend", headers=origin)
        assert refused.json()["code"] == "foreign_origin"
    assert (await client.get("/.datalabs/extend")).status_code == 405
    assert stage.fakes.times("extend_lab") == 0
    told = (await client.post("/.datalabs/extend", headers={"origin": ORIGIN})).json()
    assert told["lab"]["expires_at"] is not None
    request, call = stage.fakes.last("extend_lab")
    assert (request.lab_id, call.identity.username) == (LAB, "ada")
    # The pages of a notebook or an application are not ours: they could extend themselves for ever.
    await stage.fakes.tell_lab(a_lab(LAB, revision=9, kind=Kind.WEB))
    await stage.until(lambda: stage.parts.projection.labs.entry(LAB).lab.revision == 9)
    refused = await client.post("/.datalabs/extend", headers={"origin": ORIGIN})
    assert refused.json()["code"] == "forbidden"
    assert stage.fakes.times("extend_lab") == 1
