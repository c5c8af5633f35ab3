"""Who may start now, who waits and where: pure, so that a fairer order changes nothing around it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from datalabs_contracts.datalabs import Size
from datalabs_contracts.labs import Capacity, Fit
from datalabs_launcher.models import Taken, Waiting

ROUNDING = 1e-6
"""Cores are sums of decimal fractions."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Who is admitted, and the place of everybody else: 1 is next."""

    admitted: list[str]
    positions: dict[str, int]


def order(waiting: Sequence[Waiting]) -> list[Waiting]:
    """Return the queue in the order in which it is served: first come, first served."""
    return sorted(waiting, key=lambda lab: (lab.requested_at, lab.lab_id))


def plan(waiting: Sequence[Waiting], capacity: Capacity, taken: Taken, *, held: Collection[str] = ()) -> Plan:
    """Return who is admitted now.

    The first that does not fit stops all behind it, else a large lab would wait for ever. Those in `held` (over their
    owner's own limits) keep their place and stop nobody.
    """
    cores, memory = capacity.cores - taken.cores, capacity.memory_mib - taken.memory_mib
    admitted: list[str] = []
    positions: dict[str, int] = {}
    stopped = False
    for lab in order(waiting):
        fits = lab.cores <= cores + ROUNDING and lab.memory_mib <= memory
        if lab.lab_id not in held and fits and not stopped:
            admitted.append(lab.lab_id)
            cores -= lab.cores
            memory -= lab.memory_mib
            continue
        positions[lab.lab_id] = len(positions) + 1
        stopped = stopped or lab.lab_id not in held
    return Plan(admitted=admitted, positions=positions)


def can_fit(cores: float, memory_mib: int, capacity: Capacity) -> bool:
    """Return whether so much fits when nothing else runs."""
    return cores <= capacity.cores + ROUNDING and memory_mib <= capacity.memory_mib


def fit(size: Size, capacity: Capacity, taken: Taken, *, queued: int) -> Fit:
    """Return whether a launch of this size would start now, wait, or never fit."""
    if not can_fit(size.cores, size.memory_mib, capacity):
        return Fit.NEVER
    free_cores, free_memory = capacity.cores - taken.cores, capacity.memory_mib - taken.memory_mib
    if queued or size.cores > free_cores + ROUNDING or size.memory_mib > free_memory:
        return Fit.QUEUE
    return Fit.NOW


def needs(cores: float, memory_mib: int) -> str:
    """Return an amount in words."""
    unit = "core" if cores == 1 else "cores"
    return f"{cores:g} {unit} and {memory_mib / 1024:g} GiB"
