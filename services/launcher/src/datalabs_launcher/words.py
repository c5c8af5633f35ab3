"""What the queue says to people: amounts, and why a lab waits or never fits."""

from collections.abc import Mapping, Sequence
from typing import Any

from datalabs_contracts.labs import WaitReason
from datalabs_launcher.models import Amount, Waiting
from datalabs_launcher.nodes import ANY_DEVICE, Machine, need_of

GIB = 1024


def cores(count: float) -> str:
    """Return a number of cores in words."""
    return f"{round(count, 2):g} {'core' if count == 1 else 'cores'}"


def gib(mib: float) -> str:
    """Return an amount in GiB, rounded down: what is free is never said to be more."""
    return f"{int(max(0.0, mib) / GIB * 100) / 100:g} GiB"


def needs(count: float, memory_mib: int) -> str:
    """Return cores and memory in words."""
    return f"{cores(count)} and {memory_mib / GIB:g} GiB"


def devices(count: int, name: str | None) -> str:
    """Return a number of devices in words."""
    return f"{count} of {name}" if name else f"{count} {'GPU' if count == 1 else 'GPUs'}"


def runs(lab: Waiting) -> str:
    """Return on what kind of machine a lab runs."""
    kind = f"class {lab.node_class}" if lab.node_class else ""
    runtime = f"that runs labs as {lab.runtime}" if lab.runtime else ""
    return " ".join(part for part in ("node", f"of {kind}" if kind else "", runtime) if part)


def why_blocked(
    lab: Waiting, machines: Sequence[Machine], usable: Sequence[Machine], kept: str | None
) -> tuple[WaitReason, str]:
    """Return why a lab does not start: `usable` are the machines that take labs and are not kept for another one."""
    suiting = [machine for machine in usable if machine.suits(lab.runtime, lab.node_class)]
    need = need_of(lab)
    if not suiting:
        taking = any(machine.takes and machine.suits(lab.runtime, lab.node_class) for machine in machines)
        if taking:
            return WaitReason.RESERVED, "The node where it could run is kept free for a lab that waits longer"
        return WaitReason.NO_MACHINE, f"No {runs(lab)} takes new labs at the moment"
    text = _missing(lab, need, suiting)
    if kept is not None:
        return WaitReason.CAPACITY, f"{text}; {kept} is kept free for it"
    if text is None:
        return WaitReason.TURN, "Waits for its turn"
    return WaitReason.CAPACITY, text


def _missing(lab: Waiting, need: Amount, machines: Sequence[Machine]) -> str | None:
    """Return what no machine has free, in words; None when one has all."""
    if any(machine.has_free(need) for machine in machines):
        return None
    most = max(machine.cores for machine in machines)
    if need.cores > most + 1e-6:
        return f"Needs {cores(need.cores)} on one node; the largest free is {max(0.0, round(most, 2)):g}"
    memory = max(machine.memory_mib for machine in machines)
    if need.memory_mib > memory:
        return f"Needs {gib(need.memory_mib)} of memory on one node; the largest free is {gib(memory)}"
    for name, count in need.gpus.items():
        free = max(_free_devices(machine, name) for machine in machines)
        if count > free:
            return f"Needs {devices(count, name or None)} on one node; the most free is {max(0, free)}"
    disk = max(machine.disk_mib for machine in machines)
    if need.disk_mib > disk:
        return f"Needs {gib(need.disk_mib)} of disk on one node; the largest free is {gib(disk)}"
    return f"Needs {_all_of(lab)} on one node; no node has all of it free"


def _free_devices(machine: Machine, name: str) -> int:
    return machine.gpus.get(name, 0) if name != ANY_DEVICE else max(machine.gpus.values(), default=0)


def _all_of(lab: Waiting) -> str:
    found = needs(lab.cores, lab.memory_mib)
    return f"{found} with {devices(lab.gpus, lab.gpu_name)}" if lab.gpus else found


def why_never(lab: Waiting, title: str, machines: Sequence[Machine]) -> str:
    """Return why a lab can never run here."""
    suiting = [machine for machine in machines if machine.suits(lab.runtime, lab.node_class)]
    if not suiting:
        return f"{title} needs a {runs(lab)}; this site has none."
    if lab.gpus:
        found = max(
            machine.whole.gpus.get(lab.gpu_name, 0)
            if lab.gpu_name
            else max(machine.whole.gpus.values(), default=0)
            for machine in suiting
        )
        if found < lab.gpus:
            return f"{title} needs {devices(lab.gpus, lab.gpu_name)} on one node; the most that one has is {found}."
    largest = max(suiting, key=lambda machine: (machine.whole.memory_mib, machine.whole.cores))
    most_cores = max(suiting, key=lambda machine: machine.whole.cores)
    chosen = most_cores if lab.cores > largest.whole.cores else largest
    has = needs(chosen.whole.cores, chosen.whole.memory_mib)
    if lab.cores <= chosen.whole.cores and lab.memory_mib <= chosen.whole.memory_mib:
        disk = max(machine.whole.disk_mib for machine in suiting)
        return f"{title} needs {gib(lab.disk_mib)} of disk on one node; the largest has {gib(disk)}."
    return f"{title} needs {needs(lab.cores, lab.memory_mib)} on one node; the largest has {has}."


def at_limit(extra: Mapping[str, Any]) -> str:
    """Return which of the owner's own limits a waiting lab meets, from accounting's refusal."""
    resource, allowed = extra.get("resource"), extra.get("limit")
    most = allowed.get(resource) if isinstance(allowed, Mapping) else None
    if resource == "labs" and most is not None:
        return f"You are at your limit of {most:g} {'lab' if most == 1 else 'labs'}"
    if resource == "cores" and most is not None:
        return f"You are at your limit of {cores(most)}"
    if resource == "memory_mib" and most is not None:
        return f"You are at your limit of {gib(most)} of memory"
    return "You are at your limit"
