import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from datalabs_observer.parts import Parts
from datalabs_runtime.health import Health
from datalabs_testing.clock import FakeClock


@pytest.fixture
async def run_folder(platform: Any) -> Path:
    folder: Path = platform.folder / "run"
    return folder


@pytest.fixture
async def launcher(run_folder: Path) -> AsyncIterator[Health]:
    health = Health("launcher", run_folder / "launcher.health.sock")
    health.started = True
    await health.start()
    yield health
    await health.aclose()


async def fine() -> str | None:
    return None


async def broken() -> str | None:
    return "database: OperationalError"


async def test_each_part_is_asked(run_folder: Path, launcher: Health, clock: FakeClock) -> None:
    (run_folder / "catalogue.health.sock").touch()
    parts = Parts(run_folder=run_folder, clock=clock, own={"postgres": fine})
    health = {part.name: part for part in (await parts.health()).items}
    assert (health["launcher"].state, health["launcher"].seen_at) == ("ready", clock.now())
    assert (health["postgres"].state, health["postgres"].text) == ("ready", "")
    for name in ("catalogue", "auth"):
        assert (health[name].state, health[name].seen_at) == ("away", None)
    launcher.add("nats", broken)
    seen_at = clock.now()
    await clock.advance(60)
    health = {part.name: part for part in (await parts.health()).items}
    assert health["launcher"].state == "unready"
    assert health["launcher"].text == "nats: database: OperationalError"
    assert health["launcher"].seen_at == seen_at


async def test_the_supervisor_and_the_edge_are_read_when_they_are_there(
    run_folder: Path, clock: FakeClock
) -> None:
    async def ready(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nLIVE\n")
        writer.close()

    status = {
        "parts": [
            {"name": "nats", "state": "ready", "since": "2026-11-02T08:00:00+00:00", "pid": 7},
            {"name": "envoy", "state": "silent"},
        ]
    }
    (run_folder / "status.json").write_text(json.dumps(status))
    server = await asyncio.start_unix_server(ready, str(run_folder / "envoy-admin.sock"))
    parts = Parts(run_folder=run_folder, clock=clock, own={"postgres": broken})
    health = {part.name: part.state for part in (await parts.health()).items}
    server.close()
    await server.wait_closed()
    assert (health["nats"], health["envoy"], health["postgres"]) == ("ready", "ready", "unready")


@pytest.mark.parametrize("content", ["", "[1]", "{}", '{"parts": [{}]}'])
async def test_an_unreadable_status_file_is_as_none(run_folder: Path, clock: FakeClock, content: str) -> None:
    (run_folder / "status.json").write_text(content)
    parts = Parts(run_folder=run_folder, clock=clock, own={})
    assert len((await parts.health()).items) == 7
