"""From what the engine says of a container, and what was seen of it, to what is true of the lab: pure, but for a disk's free space."""

import os
import re
import signal
from datetime import UTC, datetime
from typing import Any

from datalabs_launcher.containers.folders import About, Evidence
from datalabs_launcher.scheduler import JobEnd, JobState, Observation, Step

STATES = {
    "created": JobState.PENDING,
    "running": JobState.RUNNING,
    "paused": JobState.RUNNING,
    "restarting": JobState.RUNNING,
}
"""The engine's other states (exited, dead, removing) mean that nothing of it runs."""
_SIGNALLED = 128
_LAST_SIGNAL = 64
_NEVER = "0001-"
_FULL = 2**20
_FRACTION = re.compile(r"(\.\d{1,6})\d*")


def instant(text: str | None) -> datetime | None:
    """Return a moment of the engine's; None for the year 1, which is its word for never."""
    if not text or text.startswith(_NEVER):
        return None
    return datetime.fromisoformat(_FRACTION.sub(r"\1", text)).astimezone(UTC)


def observation(
    about: About,
    container: dict[str, Any] | None,
    evidence: Evidence,
    *,
    asked: bool,
    gone_at: datetime | None,
) -> Observation:
    """Return what is true of an attempt; without a container it has ended, at `gone_at`."""
    if container is None:
        assert gone_at is not None
        text = "" if asked else "Its container was removed by somebody else."
        gone = JobEnd(ended_at=gone_at, exit_code=None, asked=asked, text=evidence.text or text)
        return _observation(about, JobState.ENDED, end=gone)
    state = container["State"]
    found = STATES.get(str(state["Status"]), JobState.ENDED)
    if found is JobState.PENDING and state.get("Error"):
        found = JobState.ENDED  # the engine tried to start it and could not
    created, started = instant(container.get("Created")), instant(state.get("StartedAt"))
    steps = (
        (Step(name="create", started_at=created, ended_at=started, text="Making the container"),)
        if created is not None
        else ()
    )
    end = end_of(about, container, evidence, asked=asked) if found is JobState.ENDED else None
    return _observation(about, found, steps=steps, started_at=started, end=end)


def _observation(
    about: About,
    state: JobState,
    *,
    steps: tuple[Step, ...] = (),
    started_at: datetime | None = None,
    end: JobEnd | None = None,
) -> Observation:
    return Observation(
        job_id=about.job_id,
        lab_id=about.lab_id,
        attempt=about.attempt,
        state=state,
        steps=steps,
        started_at=started_at,
        address=about.address,
        port=about.port,
        node=os.uname().nodename,
        end=end,
    )


def end_of(about: About, container: dict[str, Any], evidence: Evidence, *, asked: bool) -> JobEnd:
    """Return how a container ended; an exit code above 128 is a signal, as init passes it on."""
    state = container["State"]
    started, finished = instant(state.get("StartedAt")), instant(state.get("FinishedAt"))
    code: int | None = int(state.get("ExitCode", 0)) if started is not None else None
    number: int | None = None
    if code is not None and _SIGNALLED < code <= _SIGNALLED + _LAST_SIGNAL:
        number = code - _SIGNALLED
    failed = code != 0 and not asked
    killed = number == signal.SIGKILL
    # The limit was reached and the lab died of it; when it ends in another way, one of its processes was killed before.
    memory = bool(state.get("OOMKilled")) or (evidence.oom_kills > 0 and failed and (killed or about.batch))
    full = evidence.disk_full or (failed and not memory and _no_space(about))
    text = evidence.text or str(state.get("Error") or "")
    if full and not text:
        text = "No space was left on a disk that it writes to."
    return JobEnd(
        ended_at=finished or instant(container.get("Created")) or datetime.now(tz=UTC),
        exit_code=code,
        signal=number,
        out_of_memory=memory and not asked and not evidence.disk_full and not evidence.pids_exceeded,
        disk_full=full,
        pids_exceeded=evidence.pids_exceeded or (evidence.refused_forks > 0 and failed and not memory),
        asked=asked,
        text=text,
    )


def _no_space(about: About) -> bool:
    for folder in about.writable:
        try:
            place = os.statvfs(folder)
        except OSError:
            continue
        if place.f_bavail * place.f_frsize < _FULL:
            return True
    return False


def cgroups_of(pid: int) -> dict[str, str]:
    """Return the control groups of a process on this machine, as `local/cgroups.py` takes them."""
    try:
        with open(f"/proc/{pid}/cgroup") as file:  # noqa: PTH123 - read for each lab each second
            lines = file.read().splitlines()
    except OSError:
        return {}
    found: dict[str, str] = {}
    for line in lines:
        _, names, path = line.split(":", 2)
        if not names:
            if os.path.isdir(f"/sys/fs/cgroup{path}") and path != "/":  # noqa: PTH112 - as above
                found["unified"] = f"/sys/fs/cgroup{path}"
            continue
        for name in names.split(","):
            if name in {"memory", "pids", "cpu", "cpuacct"}:
                found[name] = f"/sys/fs/cgroup/{name}{path}"
    return found if "memory" in found or "unified" in found else {}
