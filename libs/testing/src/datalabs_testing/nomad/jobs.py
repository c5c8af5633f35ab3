"""Job specifications as Nomad completes and judges them."""

import copy
from collections.abc import Mapping
from typing import Any

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
TYPES = ("service", "batch", "system", "sysbatch")

JOB: dict[str, Any] = {
    "Affinities": None,
    "AllAtOnce": False,
    "Constraints": None,
    "ConsulNamespace": "",
    "Datacenters": ["*"],
    "DispatchIdempotencyToken": "",
    "Dispatched": False,
    "Meta": None,
    "Multiregion": None,
    "NodePool": "default",
    "NomadTokenID": "",
    "ParameterizedJob": None,
    "ParentID": "",
    "Payload": None,
    "Periodic": None,
    "Priority": 50,
    "Region": "global",
    "Spreads": None,
    "Stable": False,
    "StatusDescription": "",
    "Type": "service",
    "UI": None,
    "VaultNamespace": "",
    "VersionTag": None,
}
GROUP: dict[str, Any] = {
    "Affinities": None,
    "Constraints": None,
    "Consul": None,
    "Count": 1,
    "Disconnect": None,
    "EphemeralDisk": {"Migrate": False, "SizeMB": 300, "Sticky": False},
    "MaxClientDisconnect": None,
    "MaxRunDuration": None,
    "Meta": None,
    "Networks": None,
    "PreventRescheduleOnLost": False,
    "Scaling": None,
    "Services": None,
    "ShutdownDelay": None,
    "Spreads": None,
    "StopAfterClientDisconnect": None,
    "Volumes": None,
}
TASK: dict[str, Any] = {
    "Actions": None,
    "Affinities": None,
    "Artifacts": None,
    "CSIPluginConfig": None,
    "Config": None,
    "Constraints": None,
    "Consul": None,
    "DispatchPayload": None,
    "Driver": "",
    "Env": None,
    "Identities": None,
    "KillSignal": "",
    "KillTimeout": 5 * SECOND,
    "Kind": "",
    "Leader": False,
    "Lifecycle": None,
    "Meta": None,
    "Schedule": None,
    "Secrets": None,
    "Services": None,
    "ShutdownDelay": 0,
    "Templates": None,
    "User": "",
    "Vault": None,
    "VolumeMounts": None,
}
RESOURCES: dict[str, Any] = {
    "CPU": 100,
    "Cores": 0,
    "Devices": None,
    "DiskMB": 0,
    "IOPS": 0,
    "MemoryMB": 300,
    "MemoryMaxMB": 0,
    "NUMA": None,
    "Networks": None,
    "SecretsMB": 0,
}
UPDATE: dict[str, Any] = {
    "AutoPromote": False,
    "AutoRevert": False,
    "Canary": 0,
    "HealthCheck": "checks",
    "HealthyDeadline": 5 * MINUTE,
    "MaxParallel": 1,
    "MinHealthyTime": 10 * SECOND,
    "ProgressDeadline": 10 * MINUTE,
    "Stagger": 30 * SECOND,
}
RESTART = {
    "service": {"Attempts": 2, "Delay": 15 * SECOND, "Interval": 30 * MINUTE, "Mode": "fail"},
    "batch": {"Attempts": 3, "Delay": 15 * SECOND, "Interval": 24 * 60 * MINUTE, "Mode": "fail"},
}
RESCHEDULE = {
    "service": {
        "Attempts": 0,
        "Delay": 30 * SECOND,
        "DelayFunction": "exponential",
        "Interval": 0,
        "MaxDelay": 60 * MINUTE,
        "Unlimited": True,
    },
    "batch": {
        "Attempts": 1,
        "Delay": 5 * SECOND,
        "DelayFunction": "constant",
        "Interval": 24 * 60 * MINUTE,
        "MaxDelay": 0,
        "Unlimited": False,
    },
}
DISCONNECT = {"LostAfter": 0, "Reconcile": "best_score", "Replace": True, "StopOnClientAfter": None}
CONSUL = {"LTarget": "${attr.consul.version}", "RTarget": ">= 1.8.0", "Operand": "semver"}


class InvalidJobError(Exception):
    """A specification that Nomad refuses; the text is its own."""


def completed(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a specification with all that was left out."""
    job = {**copy.deepcopy(JOB), **_given(given)}
    job["Name"] = job.get("Name") or job.get("ID", "")
    job["Namespace"] = job.get("Namespace") or "default"
    update = _given(job.get("Update") or {})
    kind = "service" if job["Type"] not in {"batch", "sysbatch"} else "batch"
    job["TaskGroups"] = [_group(one, kind, update) for one in job.get("TaskGroups") or []]
    job["Update"] = {
        **dict.fromkeys(UPDATE, 0),
        "AutoPromote": False,
        "AutoRevert": False,
        "HealthCheck": "",
    } | update
    return job


def _group(given: Mapping[str, Any], kind: str, update: Mapping[str, Any]) -> dict[str, Any]:
    group = {**copy.deepcopy(GROUP), **_given(given)}
    group["EphemeralDisk"] = {**GROUP["EphemeralDisk"], **_given(group["EphemeralDisk"] or {})}
    group["RestartPolicy"] = {
        **RESTART[kind],
        "RenderTemplates": False,
        **_given(given.get("RestartPolicy") or {}),
    }
    group["ReschedulePolicy"] = {**RESCHEDULE[kind], **_given(given.get("ReschedulePolicy") or {})}
    if kind == "service":
        group["Update"] = {**UPDATE, **update, **_given(given.get("Update") or {})}
    if group["Disconnect"]:
        group["Disconnect"] = {**DISCONNECT, **_given(group["Disconnect"])}
    for service in group["Services"] or []:
        service["Provider"] = service.get("Provider") or "consul"
    group["Tasks"] = [_task(one, group["RestartPolicy"]) for one in given.get("Tasks") or []]
    return group


def _task(given: Mapping[str, Any], restart: Mapping[str, Any]) -> dict[str, Any]:
    task = {**copy.deepcopy(TASK), **_given(given)}
    resources = {**RESOURCES, **_given(given.get("Resources") or {})}
    if resources["Cores"]:
        resources["CPU"] = 0
    task["Resources"] = resources
    task["LogConfig"] = {
        "Disabled": False,
        "MaxFileSizeMB": 10,
        "MaxFiles": 10,
        **_given(given.get("LogConfig") or {}),
    }
    task["RestartPolicy"] = {**restart, **_given(given.get("RestartPolicy") or {})}
    return task


def _given(found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if value is not None}


def validated(job: Mapping[str, Any], *, namespaces: Mapping[str, Any], pools: Mapping[str, Any]) -> None:
    """Refuse what Nomad refuses. Raises `InvalidJobError`."""
    errors = _own_errors(job)
    if job["Namespace"] not in namespaces:
        errors.append(f'job "{job.get("ID")}" is in nonexistent namespace "{job["Namespace"]}"')
    elif job["NodePool"] not in pools:
        errors.append(f'job "{job.get("ID")}" is in nonexistent node pool "{job["NodePool"]}"')
    for group in job["TaskGroups"]:
        found = list(_group_errors(group))
        if found:
            errors.append(f"Task group {group.get('Name')} validation failed: {_listed(found)}")
    if errors:
        raise InvalidJobError(_listed(errors))


def _own_errors(job: Mapping[str, Any]) -> list[str]:
    identity = str(job.get("ID") or "")
    wrong = {
        "Missing job ID": not identity,
        "Job ID contains a space": " " in identity,
        "Job ID contains a null character": "\x00" in identity,
        f'Invalid job type: "{job["Type"]}"': job["Type"] not in TYPES,
        "Missing job task groups": not job["TaskGroups"],
    }
    return [text for text, is_so in wrong.items() if is_so]


def _group_errors(group: Mapping[str, Any]) -> list[str]:
    errors = [] if group.get("Name") else ["Missing task group name"]
    if not group["Tasks"]:
        errors.append("Missing tasks for task group")
    disconnect = group.get("Disconnect") or {}
    if disconnect.get("LostAfter") and disconnect.get("StopOnClientAfter"):
        errors.append("Disconnect block cannot have both lost_after and stop_on_client_after")
    for task in group["Tasks"]:
        found = [] if task.get("Name") else ["Missing task name"]
        if not task["Driver"]:
            found.append("Missing task driver")
        resources, log, disk = task["Resources"], task["LogConfig"], group["EphemeralDisk"]["SizeMB"]
        if resources["MemoryMB"] < 10:  # noqa: PLR2004 - Nomad's own bound
            found.append(f"minimum MemoryMB value is 10; got {resources['MemoryMB']}")
        logged = log["MaxFiles"] * log["MaxFileSizeMB"]
        if disk <= logged:
            found.append(f"log storage ({logged} MB) must be less than requested disk capacity ({disk} MB)")
        if found:
            errors.append(f"Task {task.get('Name')} validation failed: {_listed(found)}")
    return errors


def _listed(errors: list[str]) -> str:
    word = "1 error" if len(errors) == 1 else f"{len(errors)} errors"
    return f"{word} occurred:\n" + "".join(f"\t* {one}\n" for one in errors) + "\n"


def warnings_of(job: Mapping[str, Any]) -> str:
    """Return what Nomad says of a job that it takes."""
    found = [
        f'group "{group["Name"]}" defines services, but neither the group nor any of its tasks have shutdown_delay set'
        for group in job["TaskGroups"]
        if group["Services"] and not group["ShutdownDelay"]
    ]
    if not found:
        return ""
    return f"{len(found)} warning{'s' * (len(found) > 1)}:\n\n" + "\n".join(f"* {one}" for one in found)


def unchanged(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Return whether a registration says nothing new."""
    own = {"CreateIndex", "ModifyIndex", "JobModifyIndex", "SubmitTime", "Status", "Version", "Stop"}
    return all(before.get(name) == after.get(name) for name in {*before, *after} - own)
