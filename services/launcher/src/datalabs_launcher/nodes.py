"""The machines as the queue sees them: what each may still give. Pure: from the cluster's word and our own book.

Nothing is promised twice. What we promised counts from the moment of admission, before any cluster knows of it; what
the cluster knows beyond our labs (other people's jobs) counts besides.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from datalabs_contracts.datalabs import Runtime, Size
from datalabs_contracts.labs import Capacity, Node, NodeState
from datalabs_launcher.models import Amount, Held, Waiting

ROUNDING = 1e-6
"""Cores are sums of decimal fractions."""
ENDLESS_MIB = 2**40
"""Disk of a cluster that tells of no machines."""
WHOLE_SITE = "site"
ANY_DEVICE = ""


@dataclass(slots=True)
class Machine:
    """A machine and what is free of it now; `takes` is false while it drains, is closed or is not heard of.

    Each lab takes `lab_disk_mib` of its disk beside what was asked for it.
    """

    key: str
    name: str
    runtimes: tuple[Runtime, ...]
    node_class: str
    takes: bool
    whole: Amount
    cores: float
    memory_mib: int
    disk_mib: int
    gpus: dict[str, int]
    lab_disk_mib: int = 0
    leaving: list[tuple[datetime, Amount]] = field(default_factory=list)
    """When our labs here end at the latest, and what they give back then."""

    def suits(self, runtime: Runtime | None, node_class: str | None) -> bool:
        """Whether labs of this kind run here at all."""
        return (runtime is None or runtime in self.runtimes) and (
            not node_class or node_class == self.node_class
        )

    def has_free(self, need: Amount) -> bool:
        """Whether so much is free now."""
        return (
            need.memory_mib <= self.memory_mib
            and need.cores <= self.cores + ROUNDING
            and need.disk_mib + self.lab_disk_mib <= self.disk_mib
            and (not need.gpus or devices_fit(need.gpus, self.gpus))
        )

    def roomy_at(self, need: Amount) -> datetime | None:
        """Return when so much is free at the latest, if nobody else comes; None when that cannot be told."""
        then = replace(self, gpus=dict(self.gpus))
        for moment, freed in sorted(self.leaving, key=lambda one: one[0]):
            then.take_back(freed)
            if then.has_free(need):
                return moment
        return None

    def give(self, need: Amount, *, labs: int = 1) -> None:
        """Count an amount as given to so many labs; what is there may be less (a lab of a machine that shrank)."""
        self.cores -= need.cores
        self.memory_mib -= need.memory_mib
        self.disk_mib -= need.disk_mib + labs * self.lab_disk_mib
        for name, count in need.gpus.items():
            chosen = name or max(self.gpus, key=lambda one: (self.gpus[one], one), default=ANY_DEVICE)
            self.gpus[chosen] = self.gpus.get(chosen, 0) - count

    def take_back(self, need: Amount) -> None:
        """Count an amount as free again."""
        self.give(
            Amount(
                cores=-need.cores,
                memory_mib=-need.memory_mib,
                disk_mib=-need.disk_mib,
                gpus={name: -count for name, count in need.gpus.items()},
            ),
            labs=-1,
        )


def devices_fit(need: Mapping[str, int], free: Mapping[str, int]) -> bool:
    """Whether the devices are there; those without a name must be of one kind."""
    return all(
        count <= (free.get(name, 0) if name else max(free.values(), default=0))
        for name, count in need.items()
    )


def need_of(size: Size | Waiting) -> Amount:
    """Return what a size or a queued lab needs."""
    return amount(size.cores, size.memory_mib, size.disk_mib, size.gpus, size.gpu_name)


def amount(
    cores: float, memory_mib: int, disk_mib: int, gpus: int = 0, gpu_name: str | None = None
) -> Amount:
    """Return an amount."""
    devices = {gpu_name or ANY_DEVICE: gpus} if gpus else {}
    return Amount(cores=cores, memory_mib=memory_mib, disk_mib=disk_mib, gpus=devices)


def total(amounts: Iterable[Amount]) -> Amount:
    """Return the sum; devices of all names together."""
    cores, memory, disk, devices = 0.0, 0, 0, 0
    for one in amounts:
        cores += one.cores
        memory += one.memory_mib
        disk += one.disk_mib
        devices += sum(one.gpus.values())
    return Amount(
        cores=cores, memory_mib=memory, disk_mib=disk, gpus={ANY_DEVICE: devices} if devices else {}
    )


def key_of(node: Node) -> str:
    """Return the name under which a machine is remembered: machines of two clusters may share one."""
    return f"{node.cluster}/{node.name}"


def machines_of(capacity: Capacity, held: Sequence[Held]) -> list[Machine]:
    """Return the machines with what is free of each."""
    nodes = capacity.nodes or [_whole_site(capacity)]
    ours = _by_machine(nodes, held)
    found: list[Machine] = []
    for node in nodes:
        key = key_of(node)
        handed_over = [one for one in ours[key] if one.handed_over]
        known = total(one.need for one in handed_over)
        known_disk_mib = known.disk_mib + node.lab_disk_mib * sum(one.labs for one in handed_over)
        machine = Machine(
            key=key,
            name=node.name,
            runtimes=tuple(node.runtimes),
            node_class=node.node_class,
            takes=node.state is NodeState.READY,
            whole=Amount(
                cores=node.cores, memory_mib=node.memory_mib, disk_mib=node.disk_mib, gpus=dict(node.gpus)
            ),
            cores=node.cores - max(0.0, node.cores_taken - known.cores),
            memory_mib=node.memory_mib - max(0, node.memory_taken_mib - known.memory_mib),
            disk_mib=node.disk_mib - max(0, node.disk_taken_mib - known_disk_mib),
            gpus=_free_of_others(node, ours[key]),
            lab_disk_mib=node.lab_disk_mib,
        )
        for one in ours[key]:
            machine.give(one.need, labs=one.labs)
            if one.expires_at is not None:
                machine.leaving.append((one.expires_at, one.need))
        found.append(machine)
    return found


def all_at_home(capacity: Capacity, held: Iterable[Held]) -> bool:
    """Whether the machine of everything held is known: then it does not matter how it is bundled."""
    known = {key_of(node): node for node in capacity.nodes or [_whole_site(capacity)]}
    by_name: defaultdict[str, list[str]] = defaultdict(list)
    for key, node in known.items():
        by_name[node.name].append(key)
    return all(_home(one, known, by_name) is not None for one in held)


def homes_of(capacity: Capacity, held: Sequence[Held]) -> list[tuple[str, Held]]:
    """Return our labs, each with its machine."""
    nodes = capacity.nodes or [_whole_site(capacity)]
    return [(key, one) for key, labs in _by_machine(nodes, held).items() for one in labs]


def _free_of_others(node: Node, ours: Iterable[Held]) -> dict[str, int]:
    known: defaultdict[str, int] = defaultdict(int)
    for one in ours:
        for name, count in one.need.gpus.items():
            if one.handed_over:
                known[name] += count
    unnamed = known.pop(ANY_DEVICE, 0)
    free: dict[str, int] = {}
    for name, count in node.gpus.items():
        others = max(0, node.gpus_taken.get(name, 0) - known[name])
        ours_unnamed = min(unnamed, others)
        unnamed -= ours_unnamed
        free[name] = count - (others - ours_unnamed)
    return free


def _by_machine(nodes: Sequence[Node], held: Sequence[Held]) -> dict[str, list[Held]]:
    """Return our labs by machine: where the cluster says, else where room was counted, else where it would hurt."""
    known = {key_of(node): node for node in nodes}
    by_name: defaultdict[str, list[str]] = defaultdict(list)
    for key, node in known.items():
        by_name[node.name].append(key)
    found: dict[str, list[Held]] = {key: [] for key in known}
    homeless: list[Held] = []
    for one in held:
        home = _home(one, known, by_name)
        if home is None:
            homeless.append(one)
        else:
            found[home].append(one)
    for one in homeless:
        suiting = [node for node in nodes if one.runtime is None or one.runtime in node.runtimes]
        if suiting:
            roomiest = max(
                suiting,
                key=lambda node: (
                    node.memory_mib - sum(other.need.memory_mib for other in found[key_of(node)]),
                    node.name,
                ),
            )
            found[key_of(roomiest)].append(one)
    return found


def _home(one: Held, known: Mapping[str, Node], by_name: Mapping[str, list[str]]) -> str | None:
    if one.node is not None:
        there = by_name.get(one.node, [])
        if one.place in there:
            return one.place
        suiting = [key for key in there if one.runtime is None or one.runtime in known[key].runtimes]
        if suiting:
            return suiting[0]
        return there[0] if there else None
    return one.place if one.place in known else None


def _whole_site(capacity: Capacity) -> Node:
    """Return a cluster that tells of no machines as one."""
    return Node(
        name=WHOLE_SITE,
        cluster=WHOLE_SITE,
        state=NodeState.READY,
        runtimes=capacity.runtimes or list(Runtime),
        cores=capacity.cores,
        memory_mib=capacity.memory_mib,
        disk_mib=ENDLESS_MIB,
        cores_taken=capacity.cores_taken,
        memory_taken_mib=capacity.memory_taken_mib,
    )
