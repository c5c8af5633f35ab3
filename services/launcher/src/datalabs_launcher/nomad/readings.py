"""What a lab uses and says, read from Nomad's answers. Pure."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from datalabs_contracts.labs import Sample
from datalabs_launcher.local.activity import computes as computes_at
from datalabs_launcher.nomad.observing import Known, moment
from datalabs_launcher.scheduler import JobState, Observation

Document = Mapping[str, Any]
LOG_BYTES = 200 * 1024
"""What is read of each of a lab's two streams."""
MIB = 2**20
READY, BUSY = b"ready", re.compile(rb"busy \d+")
"""A guest's words, as an image of machines says them (images/vm/README.md)."""
SETTLED = 1.0
"""Seconds after a lab's end when its log is whole: what Nomad collects it with writes several times a second."""
SETTLE_SECONDS, SETTLE_TIMES = 0.15, 6
"""Before that it is read again until it stays the same, so often at most."""
MISSED_WITHIN = 1.0
MISSED = "[It ended so soon after its start that Nomad may have missed some of what it said.]"
"""Nomad begins to read a container's output some tenths of a second after its start, and stops when the container has
ended (tried on 2.0.5: of lives under 0.1 s up to all is lost, of those from 0.3 s on nothing; known as GH-6931)."""


def start_seconds(seen: Observation, allocation: Document | None) -> float | None:
    """Return how long the machine took from getting the job to the lab's start; None when it did not start."""
    placed = moment((allocation or {}).get("CreateTime"))
    if placed is None or seen.started_at is None or seen.state is JobState.UNKNOWN:
        return None
    return max(0.0, (seen.started_at - placed).total_seconds())


def sample_of(known: Known, stats: Document) -> Sample | None:
    """Return one measurement of an allocation; None when its node has not measured it yet."""
    usage = stats.get("ResourceUsage") or {}
    cpu, memory = usage.get("CpuStats") or {}, usage.get("MemoryStats") or {}
    at = moment(stats.get("Timestamp"))
    if at is None or not stats.get("Tasks"):
        return None
    return Sample(
        lab_id=known.lab_id,
        at=at.astimezone(UTC),
        cores=round(float(cpu.get("Percent") or 0.0) / 100, 4),
        memory_mib=round(_memory(memory) / MIB, 1),
        max_cores=float(known.meta.get("datalabs_cores") or 0.0),
        max_memory_mib=int(known.meta.get("datalabs_memory_mib") or 0),
    )


def _memory(memory: Document) -> float:
    """Return bytes in use without the page cache, by whatever this driver measures on this kernel."""
    measured = set(memory.get("Measured") or [])
    if "RSS" in measured and memory.get("RSS"):
        return float(memory["RSS"])
    return max(0.0, float(memory.get("Usage") or 0) - float(memory.get("Cache") or 0))


def computes(sample: Sample) -> bool:
    """Return whether that much CPU means work."""
    return computes_at(sample.cores)


def age(sample: Sample) -> float:
    """Return how many seconds ago a node measured."""
    return (datetime.now(tz=UTC) - sample.at).total_seconds()


def says_ready(complained: bytes) -> bool:
    """Return whether a guest has said that it is ready, among what its emulator complained of."""
    return any(line.strip() == READY for line in complained.splitlines())


def without_words(complained: bytes) -> bytes:
    """Return what an emulator complained of, without what its guest said of itself."""
    lines = complained.splitlines(keepends=True)
    return b"".join(line for line in lines if line.strip() != READY and not BUSY.fullmatch(line.strip()))


def just_ended(seen: Observation) -> bool:
    """Return whether a lab's last words may still be on their way."""
    return seen.end is not None and (datetime.now(tz=UTC) - seen.end.ended_at).total_seconds() < SETTLED


def may_be_missed(seen: Observation) -> bool:
    """Return whether a container ended by itself before Nomad was sure to read its output."""
    if seen.end is None or seen.end.asked or seen.started_at is None:
        return False
    return (seen.end.ended_at - seen.started_at).total_seconds() < MISSED_WITHIN


def log_lines(said: bytes, complained: bytes, *, lines: int, missed: bool = False) -> tuple[list[str], bool]:
    """Return the last lines of both streams, and whether older ones were left out; with a word on what was `missed`.

    The two are kept apart by Nomad and bear no times, so they cannot be woven together: what was said stands first,
    what was complained of last, where the cause of an end is looked for. Each gets half when both are long.
    """
    if missed:
        kept, more = log_lines(said, complained, lines=lines - 1)
        return [*kept, MISSED], more
    first, first_cut = _rows(said)
    last, last_cut = _rows(complained)
    half = lines // 2
    room_last = max(half, lines - len(first))
    room_first = lines - min(len(last), room_last)
    more = first_cut or last_cut or len(first) > room_first or len(last) > room_last
    kept_first = first[-room_first:] if room_first > 0 else []
    return kept_first + last[-room_last:], more


def _rows(data: bytes) -> tuple[list[str], bool]:
    """Return the lines of a stream's end; the first one is half when the end was cut."""
    cut = len(data) >= LOG_BYTES
    rows = data.decode(errors="replace").splitlines()
    return (rows[1:] if cut else rows), cut
