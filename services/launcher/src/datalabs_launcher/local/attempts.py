"""One attempt's folder: what it was told, what it became, and how the dead among them are recorded.

`labs/<job id>/`: spec.json, state.json, lock, stop, log, log.1 (see `supervisor.py`), root, etc, run, shim.log.
"""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from datalabs_launcher.local import bounds, cgroups, processes
from datalabs_launcher.scheduler import JobEnd, JobState, Observation, Step

State = dict[str, Any]

ABANDONED_SECONDS = 60.0
"""An accepted attempt that was not begun within so long, because the launcher died, is not begun any more."""
_KILLED = 128 + signal.SIGKILL
_LAST_WORDS = 2000


@dataclass(frozen=True)
class Attempt:
    """One attempt, by its folder; everything is read anew but the specification, which never changes."""

    folder: Path

    @property
    def job_id(self) -> str:
        """The job's id."""
        return self.folder.name

    @cached_property
    def spec(self) -> dict[str, Any]:
        """What the shim was told."""
        return dict(json.loads((self.folder / "spec.json").read_text()))

    @property
    def about(self) -> dict[str, Any]:
        """What the adapter noted for itself."""
        return dict(self.spec["about"])

    @property
    def may_begin(self) -> bool:
        """Whether it is young enough to be begun, and of this boot: in an earlier one it may have run unrecorded.

        Its age is counted by the time since the boot: that of a file grows when the clock is set.
        """
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - float(self.about.get("accepted", 0.0))
        return age < ABANDONED_SECONDS and bool(self.about["boot"] == processes.boot_id())

    def sync(self) -> None:
        """Make the acceptance outlive a power cut."""
        for path in (self.folder / "spec.json", self.folder, self.folder.parent):
            fd = os.open(path, os.O_RDONLY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    def state(self) -> State:
        """Return what the shim last recorded; empty before its first word."""
        try:
            return dict(json.loads((self.folder / "state.json").read_text()))
        except (OSError, ValueError):
            return {}

    @contextlib.contextmanager
    def held(self) -> Iterator[bool]:
        """Hold the attempt's lock; False when a shim has it."""
        fd = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                yield False
            else:
                yield True
        finally:
            os.close(fd)

    def shim_lives(self, state: State) -> bool:
        """Return whether the recorded shim runs, in this boot."""
        return state.get("boot") == processes.boot_id() and processes.lives(
            state.get("shim"), state.get("shim_ticks")
        )

    def settle(self, *, never_started: bool = False) -> State:
        """Return the state; the end of an attempt whose shim is gone is found out and recorded first.

        `never_started`: the caller knows that nobody is about to start it.
        """
        state = self.state()
        if state.get("phase") == "ended" or self.shim_lives(state) or (not state and not never_started):
            return state
        alive = self._heartbeat()
        with self.held() as ours:
            if not ours:
                return self.state()  # it has just begun
            state = self.state()
            if state.get("phase") == "ended":
                return state
            return self._bury(state, alive)

    def _bury(self, state: State, alive: float) -> State:
        """Record the end of an attempt without a shim; nothing of it runs afterwards."""
        groups: cgroups.Groups = dict(self.spec["cgroups"])
        same_boot = state.get("boot") == processes.boot_id()
        boot = state.get("boot") or self.about["boot"]
        left: list[int] = []
        if same_boot:
            left = _end(state, groups)
        oom = cgroups.out_of_memory_kills(groups) if same_boot else 0
        if not state:  # nothing ran
            error = f"It could not be started. {self._last_words()}".strip()
        elif same_boot:
            error = "Its supervisor was killed, and the lab with it."
        else:
            error = "This machine was restarted while it ran."
        state = {
            **state,
            "phase": "ended",
            "ended": time.time() if boot == processes.boot_id() else alive,
            "exit": None,
            "signal": None,
            "oom_kills": oom,
            "over_memory": False,
            "refused_forks": 0,
            "full": [],
            "asked": state.get("asked") or (time.time() if (self.folder / "stop").exists() else None),
            "cpu_seconds": cgroups.cpu_used(groups) if same_boot else None,
            "memory_peak_mib": None,
            "error": error,
            "left": left,
        }
        _write(self.folder / "state.json", json.dumps(state))
        cgroups.remove(groups)
        return state

    def _heartbeat(self) -> float:
        """Return when it was last known to run."""
        files = [self.folder / name for name in ("lock", "state.json", "spec.json")]
        return max(file.stat().st_mtime for file in files if file.exists())

    def _last_words(self) -> str:
        try:
            return (self.folder / "shim.log").read_text(errors="replace")[-_LAST_WORDS:].strip()
        except OSError:
            return ""

    def ask_to_stop(self, grace: float) -> None:
        """Write the request down, for a shim that has not begun too."""
        _write(self.folder / "stop", str(grace))

    def remove(self) -> None:
        """Remove the folder."""
        cgroups.remove(dict(self.spec["cgroups"]))
        shutil.rmtree(self.folder, ignore_errors=True)

    def observe(self, state: State) -> Observation:
        """Return the observation that a state amounts to."""
        about = self.about
        phase, says_ready = state.get("phase"), bool(about.get("says_ready"))
        started = _instant(state.get("started"))
        job_state = {"running": JobState.RUNNING, "ended": JobState.ENDED}.get(str(phase), JobState.PENDING)
        return Observation(
            job_id=self.job_id,
            lab_id=about["lab_id"],
            attempt=about["attempt"],
            state=job_state,
            steps=(
                *(
                    Step(name=name, started_at=_time(began), ended_at=_time(ended))
                    for name, began, ended in state.get("steps", [])
                ),
                *_boot(state, says_ready=says_ready),
            ),
            ready="ready" in state if says_ready else None,
            started_at=started,
            address=about["address"],
            port=about["port"],
            node=os.uname().nodename,
            end=_end_of(state, batch=about["batch"], over=bounds.noted(self.folder))
            if phase == "ended"
            else None,
        )


def _boot(state: State, *, says_ready: bool) -> list[Step]:
    """Return the start of a machine that says when it is ready."""
    if not says_ready or "started" not in state:
        return []
    begun = _time(state["started"])
    text = "" if "ready" in state else "The machine is starting"
    return [Step(name="boot", started_at=begun, ended_at=_instant(state.get("ready")), text=text)]


def _end_of(state: State, *, batch: bool, over: bounds.Over | None) -> JobEnd:
    code, number = state.get("exit"), state.get("signal")
    if over is not None:  # then it was ended by us, and nobody asked for it
        return JobEnd(
            ended_at=_time(state["ended"]),
            exit_code=code,
            signal=number,
            disk_full=over.bound == bounds.DISK_FULL,
            pids_exceeded=over.bound == bounds.PIDS_EXCEEDED,
            text=over.text,
        )
    asked = state.get("asked") is not None
    failed = code != 0 and not asked
    killed = number == signal.SIGKILL or code == _KILLED
    kills = state.get("oom_kills", 0)
    # The limit was reached and the main process died of it; when it lives on, a kernel was killed, and that is a notice.
    memory = bool(state.get("over_memory")) or (kills > 0 and failed and (killed or code is None or batch))
    text = str(state.get("error") or "")
    if full := state.get("full"):
        text = text or f"No space was left in {', '.join(full)}."
    return JobEnd(
        ended_at=_time(state["ended"]),
        exit_code=code,
        signal=number,
        out_of_memory=memory,
        disk_full=bool(full) and failed,
        pids_exceeded=state.get("refused_forks", 0) > 0 and failed and not memory,
        asked=asked,
        text=text,
    )


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, tz=UTC)


def _instant(seconds: float | None) -> datetime | None:
    return None if seconds is None else _time(seconds)


def _write(path: Path, text: str) -> None:
    draft = path.with_name(f"{path.name}.tmp{os.getpid()}")
    with draft.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)


def _end(state: State, groups: cgroups.Groups) -> list[int]:
    """Kill all that a dead shim left; return what would not go.

    Found by the keeper (its death is its namespace's), the main process, the control groups, the session.
    """
    deadline = time.monotonic() + 5
    while True:
        left = {
            state[name]
            for name in ("keeper", "pid")
            if processes.lives(state.get(name), state.get(f"{name}_ticks"))
        }
        left |= cgroups.members(groups)
        if state.get("pid"):
            left |= processes.session_of(state["pid"], state["pid_ticks"])
        if not left or time.monotonic() > deadline:
            return sorted(left)
        for pid in left:
            processes.kill(pid, signal.SIGKILL)
        time.sleep(0.005)
