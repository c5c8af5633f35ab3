"""Labs as the database has them, for tests that need no launch for one."""

from dataclasses import replace
from datetime import datetime
from typing import Any

from datalabs_contracts.datalabs import (
    IdlePolicy,
    Kind,
    LaunchSpecification,
    ProcessRuntime,
    Runtime,
    Runtimes,
    Size,
)
from datalabs_contracts.labs import LabState
from datalabs_launcher.beginnings import of_rules, of_specification, untouched
from datalabs_launcher.models import LabRecord, Policy


def queued_lab(at: datetime, *, idle_minutes: int = 0, **changes: Any) -> LabRecord:
    """Return a lab as it is right after its launch."""
    specification = LaunchSpecification(
        datalab="stub",
        title="Stub",
        version="1",
        kind=Kind.NOTEBOOK,
        size=Size(name="small", title="Small", cores=1, memory_mib=1),
        runtimes=Runtimes(order=[Runtime.PROCESS], process=ProcessRuntime(command=["x"])),
        source="/x",
        idle=IdlePolicy(minutes=idle_minutes),
    )
    made = LabRecord(
        id="abcdefghjk",
        owner="ada",
        owner_uid=1,
        unlimited=False,
        name="x",
        volumes=[],
        idempotency_key=None,
        body_hash="",
        attempt=1,
        revision=1,
        created_at=at,
        traceparent=None,
        delete_requested=False,
        deleted_at=None,
        **of_specification(specification, Runtime.PROCESS),
        **of_rules(specification, Policy(owner="ada")),
        **untouched(at),
    )
    return replace(made, **changes)


def running_lab(at: datetime, **changes: Any) -> LabRecord:
    """Return a lab that is ready since then, and was used then."""
    return queued_lab(at, **{"state": LabState.READY, "ready_at": at, "last_active_at": at, **changes})
