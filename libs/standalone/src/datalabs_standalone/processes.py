"""Processes by pid, start time and boot: the three together name one process for ever, a pid alone does not."""

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LIBC = ctypes.CDLL(None, use_errno=True)
_POLL_SECONDS = 0.02


@dataclass(frozen=True, kw_only=True)
class ProcessRef:
    """One process: its pid, its start in clock ticks since boot, and the boot's id."""

    pid: int
    started: int
    boot: str

    def alive(self) -> bool:
        """Tell whether this very process runs; a zombie and a reused pid do not count."""
        return boot_id() == self.boot and _start_of(self.pid) == self.started


def boot_id() -> str:
    """Return the kernel's id of this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def reference(pid: int) -> ProcessRef | None:
    """Return what names the process that has this pid now, or None if there is none."""
    started = _start_of(pid)
    return None if started is None else ProcessRef(pid=pid, started=started, boot=boot_id())


def _start_of(pid: int) -> int | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # the command's name before it may hold anything
    return None if fields[0] in {"Z", "X"} else int(fields[19])


def end_with_parent(signal_number: int) -> None:
    """Ask the kernel for a signal when the calling process's parent ends; survives exec of ordinary programs."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0)


def adopt_orphans(*, adopt: bool) -> None:
    """Become, or cease to be, the process that orphaned descendants of the caller fall to."""
    _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, int(adopt), 0, 0, 0)


def run_program(
    argv: Sequence[str],
    *,
    environment: Mapping[str, str],
    log: int,
    death_signal: int,
    cwd: Path,
    stdin: int = subprocess.DEVNULL,
) -> int:
    """Start a program that ends with the caller and return its pid; the caller waits for it by pid.

    The caller has no threads: the function between fork and exec only makes three system calls.
    """
    parent = os.getpid()

    def before_exec() -> None:
        end_with_parent(death_signal)
        if os.getppid() != parent:
            os._exit(1)
        raise_open_files()

    started = subprocess.Popen(
        list(argv),
        stdin=stdin,
        stdout=log,
        stderr=log,
        env=dict(environment),
        cwd=cwd,
        start_new_session=True,
        preexec_fn=before_exec,  # noqa: PLW1509 - see above: no threads here
    )
    started.returncode = 0  # reaped by pid; keeps Popen from waiting or warning
    return started.pid


def raise_open_files(wanted: int = 262_144) -> None:
    """Raise the soft limit of open files to the hard one: a proxy of many WebSockets needs tens of thousands."""
    import resource  # noqa: PLC0415 - absent where Unix is

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    ceiling = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
    if soft == resource.RLIM_INFINITY or soft >= ceiling:
        return
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (ceiling, hard))


def end(references: Iterable[ProcessRef], *, within: float) -> None:
    """End these processes, none of them children of the caller: SIGTERM, then SIGKILL after `within` seconds."""
    left = [one for one in references if one.alive()]
    for one in left:
        send(one, signal.SIGTERM)
    deadline = time.monotonic() + within
    while left and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
        left = [one for one in left if one.alive()]
    for one in left:
        send(one, signal.SIGKILL)
    while any(one.alive() for one in left):
        time.sleep(_POLL_SECONDS)


def send(one: ProcessRef, signal_number: int) -> None:
    """Send a signal to this very process, if it still runs and is ours."""
    if one.alive():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(one.pid, signal_number)


def family(pid: int) -> list[int]:
    """Return a process and its descendants."""
    children: dict[int, list[int]] = {}
    for entry in _PROC.iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            text = (entry / "stat").read_text(encoding="utf-8", errors="replace")
            children.setdefault(int(text.rpartition(")")[2].split()[1]), []).append(int(entry.name))
    found = [pid]
    for one in found:
        found.extend(children.get(one, []))
    return found


def memory_kib(pids: Iterable[int]) -> int:
    """Return the proportional set size of these processes together, in KiB; shared pages count once."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in (_PROC / str(pid) / "smaps_rollup").read_text(encoding="ascii").splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
    return total


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return the CPU time that these processes have used so far, in seconds."""
    ticks = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
            parts = fields.rpartition(")")[2].split()
            ticks += int(parts[11]) + int(parts[12])
    return ticks / os.sysconf("SC_CLK_TCK")
