"""Why a lab ended: read from the scheduler's evidence and from what was asked of it. Pure, but for taking the log."""

from collections.abc import Sequence
from dataclasses import dataclass

from datalabs_contracts.labs import LabState, Reason
from datalabs_launcher.scheduler import JobEnd

SIGKILL = 9
LAST_LINES = 20
KEPT_LINES = 200
KEPT_BYTES = 200 * 1024
INTENDED = {
    Reason.COMPLETED,
    Reason.STOPPED_BY_USER,
    Reason.STOPPED_BY_OPERATOR,
    Reason.IDLE,
    Reason.EXPIRED,
}
"""Reasons that end in `stopped`; every other one ends in `failed`."""

TEXTS: dict[Reason, str] = {
    Reason.COMPLETED: "It did its work and ended.",
    Reason.STOPPED_BY_USER: "You stopped it.",
    Reason.STOPPED_BY_OPERATOR: "An operator stopped it.",
    Reason.IDLE: "Nobody used it for a while.",
    Reason.EXPIRED: "Its time was over.",
    Reason.QUOTA_EXCEEDED: "It was over your limits.",
    Reason.NO_CAPACITY: "No place became free in time.",
    Reason.IMAGE_UNAVAILABLE: "Its software could not be made ready.",
    Reason.VOLUME_UNAVAILABLE: "Its files could not be made ready.",
    Reason.START_TIMEOUT: "It did not answer in time.",
    Reason.OUT_OF_MEMORY: "It needed more memory than its size has.",
    Reason.DISK_FULL: "Its disk was full.",
    Reason.PIDS_EXCEEDED: "It started more processes than allowed.",
    Reason.CRASHED: "It ended by itself, unexpectedly.",
    Reason.NODE_LOST: "The machine that it ran on is gone.",
    Reason.PREEMPTED: "Something more urgent took its place.",
    Reason.LAUNCHER_ERROR: "The platform made a mistake.",
}


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How a lab ended."""

    state: LabState
    reason: Reason
    message: str
    exit_code: int | None = None
    signal: int | None = None


def outcome(reason: Reason) -> LabState:
    """Return the end state that belongs to a reason."""
    return LabState.STOPPED if reason in INTENDED else LabState.FAILED


def verdict(reason: Reason, message: str = "", end: JobEnd | None = None) -> Verdict:
    """Return the end with this reason."""
    return Verdict(
        state=outcome(reason),
        reason=reason,
        message=message or TEXTS[reason],
        exit_code=end.exit_code if end else None,
        signal=end.signal if end else None,
    )


def judge(end: JobEnd, *, asked: Reason | None, message: str, batch: bool, was_ready: bool) -> Verdict:
    """Return the end that the evidence tells of; `asked` is the reason for which we were ending it, if we were."""
    by_itself = not end.asked
    if batch and by_itself and end.exit_code == 0:
        return verdict(Reason.COMPLETED, end=end)
    if asked is not None:
        return verdict(asked, message, end)
    for seen, reason in (
        (end.out_of_memory, Reason.OUT_OF_MEMORY),
        (end.disk_full, Reason.DISK_FULL),
        (end.pids_exceeded, Reason.PIDS_EXCEEDED),
        (end.image_unavailable, Reason.IMAGE_UNAVAILABLE),
        (end.volume_unavailable, Reason.VOLUME_UNAVAILABLE),
        (end.node_lost, Reason.NODE_LOST),
        (end.preempted, Reason.PREEMPTED),
    ):
        if seen:
            return verdict(reason, end.text, end)
    if end.asked:
        return verdict(Reason.STOPPED_BY_OPERATOR, end=end)
    if was_ready and not batch and end.exit_code == 0:
        return verdict(Reason.COMPLETED, "It was shut down from inside.", end)
    return verdict(Reason.CRASHED, end.text or _crash_text(end, was_ready=was_ready), end)


def _crash_text(end: JobEnd, *, was_ready: bool) -> str:
    when = "It ended" if was_ready else "It ended before it answered"
    if end.signal is not None:
        return f"{when}: killed by signal {end.signal}."
    if end.exit_code is not None:
        return f"{when} with exit code {end.exit_code}."
    return f"{when}; how is not known."


def last_lines(lines: Sequence[str]) -> list[str]:
    """Return what the card of an ended lab shows."""
    return [line[:500] for line in lines[-LAST_LINES:]]


def kept_lines(
    log: Sequence[str], *, lines: int = KEPT_LINES, size: int = KEPT_BYTES
) -> tuple[list[str], bool]:
    """Return the last lines of a log within a number and a size in bytes, and whether something was left out."""
    kept: list[str] = []
    for line in reversed(log[-lines:]):
        size -= len(line.encode(errors="replace")) + 1
        if size < 0:
            break
        kept.append(line.replace("\x00", ""))  # PostgreSQL stores no NUL
    kept.reverse()
    return kept, len(kept) < len(log)
