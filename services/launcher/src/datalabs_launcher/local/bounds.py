"""What no limit of the kernel ends: a process lab whose scratch outgrows its size, or that stands at its limit of processes."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datalabs_launcher.local import cgroups, disk
from datalabs_launcher.local.specification import SCRATCH

DISK_FULL, PIDS_EXCEEDED = "disk_full", "pids_exceeded"
CROWDED = 0.9
"""Above this part of its limit a lab that was refused processes stands at it: some end while others begin."""
_NOTE = "over"


@dataclass(frozen=True)
class Over:
    """Which bound was passed, and how in plain words."""

    bound: str
    text: str


@dataclass
class Looks:
    """What earlier looks at a lab found: since when it stands at its limit of processes, and when its files are due."""

    since: float | None = None
    files: disk.Counter = field(default_factory=disk.Counter)

    def cramped(self, groups: cgroups.Groups, *, pids: int, now: float, patience: float) -> bool:
        """Take a look; return whether it has stood at its limit for `patience` seconds, having been refused more.

        A bomb's processes wait between their tries, so new refusals alone do not show it.
        """
        if not cgroups.refused_forks(groups) or cgroups.tasks(groups) < pids * CROWDED:
            self.since = None
            return False
        self.since = now if self.since is None else self.since
        return now - self.since >= patience


def scratch_of(binds: Sequence[Sequence[str]], root: str) -> list[str]:
    """Return the folders behind a lab's scratch; `root` stands before paths where real ones cannot be mounted."""
    return [source for source, target, mode in binds if mode == "rw" and target.removeprefix(root) == SCRATCH]


def cramped_text(pids: int) -> str:
    """Return in plain words that a lab stood at its limit of processes."""
    return f"It stood at its limit of {pids} processes and kept asking for more."


def passed(
    spec: dict[str, Any], looks: Looks, *, now: float, patience: float, files_per_mib: int
) -> Over | None:
    """Return the bound that a running process lab has passed, by its specification; None while it keeps to all."""
    pids = int(spec["limits"]["pids"])
    if looks.cramped(dict(spec["cgroups"]), pids=pids, now=now, patience=patience):
        return Over(PIDS_EXCEEDED, cramped_text(pids))
    folders = scratch_of(spec["binds"], spec["env"].get("DATALABS_ROOT", ""))
    text = looks.files.over(folders, disk_mib=spec["about"].get("disk_mib", 0), files_per_mib=files_per_mib)
    return Over(DISK_FULL, text) if text else None


def note(folder: Path, over: Over) -> None:
    """Keep in an attempt's folder why it is being ended."""
    draft = folder / f"{_NOTE}.tmp"
    draft.write_text(json.dumps([over.bound, over.text]))
    draft.rename(folder / _NOTE)


def noted(folder: Path) -> Over | None:
    """Return why an attempt was ended, if it was for a bound."""
    try:
        return Over(*json.loads((folder / _NOTE).read_text()))
    except (OSError, ValueError, TypeError):
        return None
