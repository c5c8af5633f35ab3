"""What a lab is at its beginning, and what a launch would meet: pure."""

import hashlib
from datetime import datetime
from typing import Any

from datalabs_contracts.datalabs import LaunchSpecification, Runtime
from datalabs_contracts.labs import Capacity, LabState, LaunchBody, Limits
from datalabs_launcher.models import NOT_WAITING, PHASE_TEXTS, QUEUED, Policy, Waiting
from datalabs_launcher.nodes import machines_of, need_of
from datalabs_launcher.queueing import can_ever_fit
from datalabs_launcher.words import why_never


def of_specification(specification: LaunchSpecification, runtime: Runtime) -> dict[str, Any]:
    """Return what a lab takes from the catalogue's answer."""
    return {
        "datalab": specification.datalab,
        "datalab_title": specification.title,
        "version": specification.version,
        "kind": specification.kind,
        "runtime": runtime,
        "size": specification.size.name,
        "cores": specification.size.cores,
        "memory_mib": specification.size.memory_mib,
        "disk_mib": specification.size.disk_mib,
        "gpus": specification.size.gpus,
        "gpu_name": specification.size.gpu_name,
        "node_class": specification.size.node_class,
        "parameters": specification.parameters,
        "collections": specification.collections,
        "specification_document": specification.model_dump(mode="json"),
    }


def of_rules(specification: LaunchSpecification, policy: Policy) -> dict[str, Any]:
    """Return the rules of a lab's life: its owner's own, else its datalab's."""
    own = policy.lifetime_seconds
    return {
        "idle_minutes": specification.idle.minutes if policy.idle_minutes is None else policy.idle_minutes,
        "lifetime_seconds": specification.lifetime_seconds if own is None else own,
    }


def untouched(now: datetime) -> dict[str, Any]:
    """Return what an attempt is at its beginning: queued, reserved, nothing else."""
    missing = (
        "reason progress_fraction exit_code signal queue_position started_at ready_at ended_at expires_at"
        " last_active_at noticed_minutes job_id port intended_at submitted_at host host_port node place"
        " kept_until files_kept_until"
    )
    return {
        **dict.fromkeys(missing.split()),
        **NOT_WAITING,
        "state": LabState.QUEUED,
        "phase": QUEUED,
        "progress_text": PHASE_TEXTS[QUEUED],
        "message": "",
        "last_lines": [],
        "reserved": True,
        "requested_at": now,
        "state_since": now,
        "phase_since": now,
        "due_at": now,
    }


def hash_of(body: LaunchBody) -> str:
    """Return what tells two requests with one key apart; a field that came later counts only when it is used."""
    unused = {"priority"} if body.priority is None else set()
    return hashlib.sha256(body.model_dump_json(exclude=unused).encode()).hexdigest()


def over_limit(limits: Limits, cores: float, memory_mib: int) -> str:
    """Return which limit a launch would exceed, in words; empty when none."""
    used = limits.used
    if limits.max_labs is not None and used.labs + 1 > limits.max_labs:
        return f"You have {used.labs} of {limits.max_labs} labs."
    if limits.max_cores is not None and used.cores + cores > limits.max_cores:
        return f"You use {used.cores:g} of {limits.max_cores:g} cores."
    if limits.max_memory_mib is not None and used.memory_mib + memory_mib > limits.max_memory_mib:
        return f"You use {used.memory_mib / 1024:g} of {limits.max_memory_mib / 1024:g} GiB."
    return ""


def never_fits(lab: Waiting, title: str, capacity: Capacity) -> str | None:
    """Return why a lab can never run here; a cluster that does not answer might have the machine."""
    machines = machines_of(capacity, ())
    if capacity.away or can_ever_fit(need_of(lab), lab.runtime, lab.node_class, machines):
        return None
    return why_never(lab, title, machines)
