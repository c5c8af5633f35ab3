"""Twenty launches taken apart span by span: one trace from the click to ready, no orphan, phases that add up."""

import asyncio
import secrets
import time
from typing import Any

import pytest

from datalabs_client import Datalabs
from datalabs_testing.waiting import eventually

pytestmark = pytest.mark.e2e

LAUNCHES = 20
OURS = {f"datalabs-{service}" for service in ("gateway", "launcher", "catalogue", "storage", "accounting")}
TOLERANCE = 0.05


async def click(ada: Datalabs) -> tuple[str, str, str]:
    """Launch as the dashboard does: a click span of its own, whose context travels with the request."""
    trace_id, span_id = secrets.token_hex(16), secrets.token_hex(8)
    began = time.time_ns()
    answer = await ada.http.post(
        "/api/v1/labs", json={"datalab": "stub"}, headers={"traceparent": f"00-{trace_id}-{span_id}-01"}
    )
    assert answer.status_code == 202, answer.text
    span = {
        "traceId": trace_id, "spanId": span_id, "name": "click launch", "kind": 3,
        "startTimeUnixNano": str(began), "endTimeUnixNano": str(time.time_ns()),
    }  # fmt: skip
    service = {"attributes": [{"key": "service.name", "value": {"stringValue": "dashboard"}}]}
    sent = await ada.http.post(
        "/api/v1/telemetry/v1/traces",
        json={"resourceSpans": [{"resource": service, "scopeSpans": [{"spans": [span]}]}]},
    )
    assert sent.is_success, sent.text
    return answer.json()["id"], trace_id, span_id


async def spans_of(admin: Datalabs, trace_id: str) -> list[dict[str, Any]]:
    return [span async for span in admin.items(f"/traces/{trace_id}")]


def orphans(spans: list[dict[str, Any]], trace_id: str, click_id: str) -> list[tuple[str, str]]:
    """Return service and name of the trace's own spans whose parent is not there; the click is the root."""
    known = {span["span_id"] for span in spans}
    return [
        (span["service"], span["name"])
        for span in spans
        if span["trace_id"] == trace_id and span["span_id"] != click_id and span["parent_id"] not in known
    ]


async def test_twenty_launches_span_by_span(ada: Datalabs, admin: Datalabs) -> None:
    for _ in range(LAUNCHES):
        lab_id, trace_id, click_id = await click(ada)
        lab = await ada.lab(lab_id)
        ready = await lab.ready(timeout=60)
        assert ready.trace_id == trace_id
        async with ada.visit(await lab.open()) as browser:
            assert (await browser.get("/")).text == "ok"

        timeline = await lab.timeline()
        assert timeline.trace_id == trace_id
        assert ready.ready_at is not None
        life = (ready.ready_at - ready.created_at).total_seconds()
        assert sum(phase.seconds for phase in timeline.phases) == pytest.approx(
            life, rel=TOLERANCE, abs=0.002
        )

        async def whole(trace_id: str = trace_id, click_id: str = click_id) -> list[dict[str, Any]] | None:
            spans = await spans_of(admin, trace_id)
            complete = {"dashboard", "edge", *OURS} <= {span["service"] for span in spans}
            return spans if complete and not orphans(spans, trace_id, click_id) else None

        try:
            spans = await eventually(whole, seconds=20, pause=0.1)
        except TimeoutError:
            spans = await spans_of(admin, trace_id)
        assert orphans(spans, trace_id, click_id) == []
        assert {"dashboard", "edge", *OURS} <= {span["service"] for span in spans}
        assert click_id in {span["span_id"] for span in spans}
        visits = [span for span in spans if span["trace_id"] != trace_id]
        assert {span["service"] for span in visits} <= {"edge"}
        names = {span["name"] for span in spans if span["service"] == "datalabs-launcher"}
        assert {phase.name for phase in timeline.phases} <= {
            name.split(" ")[-1].split(".")[-1] for name in names
        }
        await lab.delete()
        await lab.ended(timeout=20)
        await asyncio.sleep(0)
