"""Machines, figures, long runs and files after the end, on the whole platform."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from datalabs_client import Datalabs
from datalabs_contracts.labs import LabState
from datalabs_testing.waiting import eventually

pytestmark = pytest.mark.e2e


async def test_a_lab_stands_on_a_machine_that_operators_see(ada: Datalabs, admin: Datalabs) -> None:
    lab = await ada.launch("stub")
    ready = await lab.ready(timeout=60)
    nodes = (await admin.call("GET", "/nodes"))["items"]
    mine = next(node for node in nodes if node["name"] == ready.node and "process" in node["runtimes"])
    assert mine["labs"] >= 1
    assert mine["memory_taken_mib"] >= ready.memory_mib
    assert (await admin.call("GET", "/queue")) == {"items": [], "next": None, "total": 0}
    for path in ("/nodes", "/queue", "/people/ada/lab-policy"):
        answer = await ada.http.get(f"/api/v1{path}")
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), path


async def test_figures_come_while_somebody_asks(ada: Datalabs) -> None:
    lab = await ada.launch("stub")
    await lab.ready(timeout=60)

    async def measured() -> Any:
        return (await ada.call("GET", f"/labs/{lab.id}/metrics"))["samples"]

    sample = (await eventually(measured, seconds=20, pause=0.2))[-1]
    assert sample["memory_mib"] > 0
    assert sample["max_disk_mib"] > 0


async def test_a_lab_is_kept_and_an_ended_one_can_be_had_back(ada: Datalabs, admin: Datalabs) -> None:
    lab = await ada.launch("stub")
    await lab.ready(timeout=60)
    until = datetime.now(UTC) + timedelta(days=2)
    kept = await ada.call("POST", f"/labs/{lab.id}/keep", {"until": until.isoformat()})
    assert datetime.fromisoformat(kept["expires_at"]) >= until
    await admin.call("PUT", "/people/ada/lab-policy", {"idle_minutes": 45})
    await lab.until(lambda lab: lab.idle_minutes == 45, timeout=10)
    await admin.call("PUT", "/people/ada/lab-policy", {})
    await lab.stop()
    stopped = await lab.until(lambda lab: lab.state.ended, timeout=20)
    assert stopped.restartable
    assert stopped.files_kept_until is not None
    await ada.call("POST", f"/labs/{lab.id}/restart", {})
    again = await lab.until(lambda lab: lab.state is LabState.READY, timeout=60)
    assert (again.attempt, again.files_kept_until) == (2, None)
