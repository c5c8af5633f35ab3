"""GPUs of this machine that its Docker engine can give to a lab: NVIDIA's, by what their driver says of them.

Each lab gets devices of its own, by their ids: an engine that is only told how many would give the same ones to everybody.
"""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DRIVER = Path("/proc/driver/nvidia/gpus")
RUNTIME = "nvidia"
"""What an engine calls the runtime that puts GPUs into containers."""
_LINE = re.compile(r"^(Model|GPU UUID):\s*(.+?)\s*$", re.MULTILINE)
NOT_PASSED = (
    "This machine has GPUs, but its container engine cannot give them to labs: its NVIDIA runtime is missing."
)


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One device: its id, and its name as sizes have it (vendor, type, model)."""

    id: str
    name: str


def found(folder: Path = DRIVER) -> list[Gpu]:
    """Return the GPUs that the machine's driver knows."""
    devices: list[Gpu] = []
    for file in sorted(folder.glob("*/information")):
        try:
            said = dict(_LINE.findall(file.read_text(errors="replace")))
        except OSError:
            continue
        if {"Model", "GPU UUID"} <= said.keys():
            model = said["Model"].removeprefix("NVIDIA ")
            devices.append(Gpu(id=said["GPU UUID"], name=f"nvidia/gpu/{model}"))
    return devices


def passes(engine: Mapping[str, Any]) -> bool:
    """Return whether the engine, by what it says of itself, puts GPUs into containers."""
    return RUNTIME in (engine.get("Runtimes") or {})


def counted(devices: Sequence[Gpu]) -> dict[str, int]:
    """Return how many there are of each name."""
    return dict(Counter(one.name for one in devices))


def chosen(
    devices: Sequence[Gpu], count: int, name: str | None, *, taken: Collection[str]
) -> tuple[str, ...] | None:
    """Return the ids of so many devices of one name (of any, when none is given) that nobody has; None: too few are free."""
    free = [one for one in devices if one.id not in taken and _is(one.name, name)]
    for kind in sorted({one.name for one in free}):
        own = [one.id for one in free if one.name == kind]
        if len(own) >= count:
            return tuple(own[:count])
    return None


def _is(device: str, wanted: str | None) -> bool:
    """Return whether a device is meant: by its whole name, or by vendor and type, or by its type, as Nomad names devices."""
    if wanted is None:
        return True
    vendor, kind, _ = device.split("/", 2)
    return wanted in {device, f"{vendor}/{kind}", kind}


def request_for(ids: Sequence[str]) -> list[dict[str, Any]]:
    """Return what the engine is asked for."""
    if not ids:
        return []
    return [{"Driver": RUNTIME, "DeviceIDs": list(ids), "Capabilities": [["gpu", "compute", "utility"]]}]
