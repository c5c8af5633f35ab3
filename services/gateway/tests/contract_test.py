"""The gateway keeps what its OpenAPI document says, whatever is sent: no 5xx, no undocumented status or form."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from datalabs_gateway.api import build_api
from datalabs_gateway.openapi import build_openapi
from datalabs_gateway.server import HttpServer

EXAMPLES = 6
"""Requests for each operation and mode: the bound of this test's time."""
NOT_HERE = {"followEvents", "signOut", "signIn"}
"""A stream without an end, and what would take the session away or be limited for guessing."""
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@pytest.fixture
def gateway_settings() -> dict[str, Any]:
    return {
        "writes_per_second": 10_000.0,
        "launches_per_ten_seconds": 100_000.0,
        "telemetry_per_second": 10_000.0,
    }


@pytest.fixture
async def address(stage: Any) -> AsyncIterator[str]:
    """The same application on a port, for a client that knows no Unix sockets."""
    config = uvicorn.Config(
        stage.parts.border, host="127.0.0.1", port=0, ws="none", lifespan="off", log_config=None
    )
    server = type(HttpServer(stage.parts.border, stage.folder / "x", on_stop=lambda: None)._server)(config)
    task = asyncio.create_task(server.serve())
    await stage.until(lambda: server.started)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    with contextlib.suppress(asyncio.CancelledError):
        await task


def exercise(address: str, cookie: str) -> list[str]:
    """Send examples of every operation and check the answers; returns the operations that were tried."""
    schema = schemathesis.openapi.from_dict(build_openapi(build_api()))
    tried = []
    for found in schema.get_all_operations():
        operation = found.ok()
        name = operation.definition.raw["operationId"]
        if name in NOT_HERE:
            continue

        strategy = operation.as_strategy() | operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=strategy)
        def check(case: Any) -> None:
            headers = {"cookie": cookie, "host": "localhost:8080"}
            answer = case.call(base_url=address, headers=headers, timeout=20)
            case.validate_response(answer, checks=CHECKS)

        check()
        tried.append(name)
    return tried


@pytest.mark.filterwarnings("ignore")
async def test_the_gateway_keeps_its_contract(stage: Any, address: str, fakes: Any, a_lab: Any) -> None:
    fakes.labs["k3v9x2mnpq"] = a_lab()
    await fakes.tell_lab(a_lab(revision=6))
    client = await stage.signed_in("admin")
    tried = await asyncio.to_thread(exercise, address, client.headers["cookie"])
    assert len(tried) > 30
