"""What the engine has written down of a lab: its last lines, and what it used."""

from typing import Any

from datalabs_launcher.local.logs import LONGEST_LINE
from datalabs_launcher.local.meters import Use

_MIB = 2**20


def rows(data: bytes, *, lines: int) -> tuple[list[str], bool]:
    """Return the last lines, oldest first, and whether older ones exist; one more than wanted was asked for."""
    found = data.split(b"\n")
    if found and not found[-1]:
        found.pop()
    texts = [row[:LONGEST_LINE].decode(errors="replace").rstrip("\r") for row in found]
    more = len(texts) > lines
    return texts[-lines:] if more else texts, more


def use_of(counts: dict[str, Any] | None) -> Use | None:
    """Return what the engine counts of a container, as its own client would show it; None when it does not run."""
    memory = (counts or {}).get("memory_stats") or {}
    if counts is None or "usage" not in memory:
        return None
    inside = memory.get("stats") or {}
    cache = inside.get("total_inactive_file", inside.get("inactive_file", 0))
    return Use(
        cpu_seconds=counts["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9,
        memory_mib=max(0, memory["usage"] - cache) / _MIB,
    )
