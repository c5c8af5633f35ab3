import asyncio
from typing import Any

import pytest

from datalabs_client import Datalabs, LabEndedError
from datalabs_contracts.labs import LabState
from datalabs_contracts.problems import ProblemCode, ProblemError


def client(platform: Any) -> Datalabs:
    return Datalabs(platform.url, username="ada", password="good")


async def test_it_reads_as_it_is_said(platform: Any) -> None:
    async with client(platform) as datalabs:
        lab = await datalabs.launch("jupyterlab")
        waiting = asyncio.create_task(lab.ready())
        await platform.followed.wait()
        platform.become("preparing")
        platform.become("starting")
        platform.become("ready")
        assert (await waiting).state is LabState.READY
        assert (await lab.open()).endswith("/.datalabs/enter?code=once")
        await lab.stop()
        assert lab.lab.state is LabState.STOPPING


async def test_a_lab_that_is_ready_before_events_flow_is_not_missed(platform: Any) -> None:
    async with client(platform) as datalabs:
        lab = await datalabs.launch("jupyterlab")
        platform.become("ready", tell=False)
        assert (await lab.ready(timeout=5)).state is LabState.READY


async def test_a_lab_that_ends_instead_tells_why(platform: Any) -> None:
    async with client(platform) as datalabs:
        lab = await datalabs.launch("jupyterlab")
        platform.become("failed", reason="crashed", message="It ended at once.", last_lines=["boom"])
        with pytest.raises(LabEndedError, match=r"(?s)crashed.*boom"):
            await lab.ready(timeout=5)
        assert (await lab.ended()).reason == "crashed"


async def test_a_broken_connection_is_resumed_where_it_was(platform: Any) -> None:
    async with client(platform) as datalabs:
        lab = await datalabs.launch("jupyterlab")
        waiting = asyncio.create_task(lab.ready(timeout=10))
        await platform.followed.wait()
        platform.become("starting")
        platform.followed.clear()
        platform.send(None)
        platform.become("ready", tell=False)
        assert (await waiting).state is LabState.READY
        assert platform.last_ids == [None, "e-1"]


async def test_after_a_reset_the_lab_is_read_anew(platform: Any) -> None:
    async with client(platform) as datalabs:
        lab = await datalabs.launch("jupyterlab")
        waiting = asyncio.create_task(lab.ready(timeout=10))
        await platform.followed.wait()
        platform.become("ready", tell=False)
        platform.send(b"id: f-9\nevent: reset\ndata: {}\n\n")
        assert (await waiting).state is LabState.READY


async def test_older_revisions_are_passed_over(platform: Any) -> None:
    async with client(platform) as datalabs:
        lab = await datalabs.launch("jupyterlab")
        seen: list[int] = []

        def ended(one: Any) -> bool:
            seen.append(one.revision)
            return bool(one.state.ended)

        waiting = asyncio.create_task(lab.until(ended, timeout=10))
        await platform.followed.wait()
        platform.become("starting", revision=5)
        platform.become("preparing", revision=4)
        platform.become("stopped", revision=6)
        await waiting
        assert seen == sorted(set(seen))
        assert 4 not in seen


async def test_a_launch_is_repeated_with_its_key_while_the_platform_is_away(
    platform: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datalabs_client.client._RETRY_SECONDS", 0.001)
    platform.refuse_launches = 2
    async with client(platform) as datalabs:
        await datalabs.launch("jupyterlab", size="small")
    assert len(platform.keys) == 3
    assert len(set(platform.keys)) == 1


async def test_refusals_carry_their_code(platform: Any) -> None:
    with pytest.raises(ProblemError) as refused:
        async with Datalabs(platform.url, username="ada", password="wrong"):
            pass
    assert refused.value.code is ProblemCode.WRONG_CREDENTIALS
    async with client(platform) as datalabs:
        with pytest.raises(ProblemError) as refused:
            await datalabs.lab("a234567892")
        assert refused.value.code is ProblemCode.NOT_FOUND


async def test_waiting_without_a_session_is_refused_and_does_not_hang(platform: Any) -> None:
    async with client(platform) as datalabs:
        lab = await datalabs.launch("jupyterlab")
        datalabs.http.cookies.clear()
        datalabs._origin.cookies.clear()
        with pytest.raises(ProblemError) as refused:
            await lab.ready(timeout=5)
        assert refused.value.code is ProblemCode.NOT_SIGNED_IN


async def test_lists_go_on_over_pages(platform: Any) -> None:
    async with client(platform) as datalabs:
        assert len(await datalabs.labs()) == 2


async def test_a_lab_is_visited_at_its_own_origin(platform: Any) -> None:
    async with client(platform) as datalabs:
        lab = await datalabs.launch("jupyterlab")
        async with lab.visit() as browser:
            seen = (await browser.get("/lab")).json()
    assert seen == {"host": f"{lab.id}.localhost:{platform.port}", "cookie": "__Host-lab=token"}


async def test_defaults_come_from_the_environment(platform: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATALABS_URL", platform.url)
    monkeypatch.setenv("DATALABS_USERNAME", "ada")
    monkeypatch.setenv("DATALABS_PASSWORD", "good")
    async with Datalabs() as datalabs:
        assert (await datalabs.launch("jupyterlab")).id
