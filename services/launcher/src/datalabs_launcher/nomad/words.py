"""Nomad's reasons in plain words."""

import re
from collections.abc import Mapping
from typing import Any

IMAGE, VOLUME = "image", "volume"
"""What can be to blame for a lab that never started."""
_DIMENSIONS = {
    "cpu": "cores",
    "cores": "cores",
    "memory": "memory",
    "disk": "disk",
    "devices": "devices",
    "network: port collision": "ports",
    "network": "ports",
}
_FILTERS = {
    "missing drivers": "cannot run labs of this kind",
    "missing devices": "have no such device",
    "missing compatible host volumes": "have not got the shared files",
    "missing network": "have no such network",
    "${node.class} =": "are of another class",
}
_IMAGE = re.compile(
    r"[Ff]ailed to pull|[Ff]ailed to (?:find|load) (?:docker )?image|image not found|No such image|pull access denied|"
    r"manifest (?:unknown|for)|Failed Artifact Download|image_path|executable file not found|qemu-img|"
    r"Could not open .*(?:qcow2|img|raw)",
)
_VOLUME = re.compile(r"bind source path does not exist|failed to mount|mounting .* to rootfs|volume")


def waiting_text(failed: Mapping[str, Any] | None) -> str:
    """Return why a job waits, from the evaluation's `FailedTGAllocs`."""
    metric: Mapping[str, Any] = next(iter((failed or {}).values()), {}) or {}
    if not metric:
        return "Waiting for a machine"
    evaluated = metric.get("NodesEvaluated") or 0
    if not evaluated:
        return "No machine takes labs now"
    parts: list[str] = []
    for text, count in (metric.get("ConstraintFiltered") or {}).items():
        if text.startswith("${node.unique.id}"):
            continue  # our own choice, not a reason: it waits for the machine on which its room was counted
        words = next((value for key, value in _FILTERS.items() if key in text), f"do not meet “{text}”")
        parts.append(f"{_machines(count)} {_agree(words, count)}")
    short: dict[str, int] = {}
    for text, count in (metric.get("DimensionExhausted") or {}).items():
        what = _DIMENSIONS.get(text) or _DIMENSIONS.get(text.split(":")[0], text)
        short[what] = short.get(what, 0) + count
    parts += [
        f"{_machines(count)} {'has' if count == 1 else 'have'} not enough {what} free"
        for what, count in short.items()
    ]
    return "Waiting for a machine: " + ", ".join(parts) if parts else "Waiting for a machine"


def _machines(count: int) -> str:
    return "one machine" if count == 1 else f"{count} machines"


def _agree(words: str, count: int) -> str:
    """Put a plural verb into the singular for one machine."""
    if count != 1:
        return words
    first, _, rest = words.partition(" ")
    return f"{({'have': 'has', 'are': 'is', 'do': 'does'}).get(first, first)} {rest}"


def failure_of(text: str, *, image: str) -> tuple[str, str]:
    """Return what is to blame for a driver's failure (nothing: the lab itself), and the failure in plain words."""
    cause = _cause(text)
    if _IMAGE.search(text):
        return IMAGE, f"The image {image} cannot be used: {cause}" if image else cause
    if _VOLUME.search(text):
        return VOLUME, f"Its files are not on the machine: {cause}"
    return "", f"It could not be started: {cause}"


def _cause(text: str) -> str:
    """Return the inmost cause of a chain of errors, one line, not too long."""
    line = " ".join(text.split())
    line = re.sub(r"^Failed to pull `[^`]*`: (?:Error response from daemon: )?", "", line)
    return line if len(line) <= 300 else line[:297] + "..."  # noqa: PLR2004 - what a card can show
