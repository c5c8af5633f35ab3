"""Whether a group fits on a node, in the order and with the words of Nomad's scheduler."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from datalabs_testing.nomad.jobs import CONSUL
from datalabs_testing.nomad.nodes import Device, Node, instances

OPERANDS = {
    "==": "=",
    "is": "=",
    "": "=",
    "not": "!=",
    "semver": "version",
    "set_contains_all": "set_contains",
}
VERSION = re.compile(r"\d+")
BOUND = re.compile(r"\s*(>=|<=|>|<|=|~>)?\s*([0-9][0-9.]*)")


@dataclass(frozen=True, kw_only=True)
class Demand:
    """What one group asks of a node."""

    cpu: int
    cores: int
    memory: int
    disk: int
    drivers: frozenset[str]
    devices: tuple[tuple[str, int], ...]
    reserved_ports: tuple[tuple[str, int, str], ...]
    dynamic_ports: tuple[tuple[str, int, str], ...]
    volumes: tuple[str, ...]
    constraints: tuple[tuple[str, str, str], ...]
    datacenters: tuple[str, ...]
    pool: str


@dataclass
class Metrics:
    """Why nodes were passed over."""

    pool: str
    in_pool: int = 0
    available: dict[str, int] = field(default_factory=dict)
    evaluated: int = 0
    filtered: dict[str, int] = field(default_factory=dict)
    exhausted: dict[str, int] = field(default_factory=dict)
    nodes_exhausted: int = 0
    scores: list[dict[str, Any]] = field(default_factory=list)

    def filter(self, reason: str) -> None:
        """Count a node that can never take it."""
        self.filtered[reason] = self.filtered.get(reason, 0) + 1

    def exhaust(self, dimension: str) -> None:
        """Count a node that is too full."""
        self.exhausted[dimension] = self.exhausted.get(dimension, 0) + 1
        self.nodes_exhausted += 1

    def json(self) -> dict[str, Any]:
        """Return it as Nomad writes it."""
        return {
            "AllocationTime": 50_000,
            "ClassExhausted": None,
            "ClassFiltered": None,
            "CoalescedFailures": 0,
            "ConstraintFiltered": self.filtered or None,
            "DimensionExhausted": self.exhausted or None,
            "NodePool": self.pool,
            "NodesAvailable": self.available,
            "NodesEvaluated": self.evaluated,
            "NodesExhausted": self.nodes_exhausted,
            "NodesFiltered": sum(self.filtered.values()),
            "NodesInPool": self.in_pool,
            "QuotaExhausted": None,
            "ResourcesExhausted": None,
            "ScoreMetaData": self.scores or None,
            "Scores": None,
        }


def demand_of(job: Mapping[str, Any], group: Mapping[str, Any]) -> Demand:
    """Return what a group of a job asks for."""
    tasks = group["Tasks"]
    main = [task["Resources"] for task in tasks if not _before(task)]
    before = [task["Resources"] for task in tasks if _before(task)]
    rules = list(job["Constraints"] or []) + list(group["Constraints"] or [])
    rules += [one for task in tasks for one in task["Constraints"] or []]
    if any(service["Provider"] == "consul" for service in group["Services"] or []):
        rules.append(CONSUL)
    networks = group["Networks"] or []
    return Demand(
        cpu=max(_sum(main, "CPU"), _sum(before, "CPU")),
        cores=max(_sum(main, "Cores"), _sum(before, "Cores")),
        memory=max(_sum(main, "MemoryMB"), _sum(before, "MemoryMB")),
        disk=group["EphemeralDisk"]["SizeMB"],
        drivers=frozenset(task["Driver"] for task in tasks),
        devices=tuple(
            (device["Name"], device.get("Count") or 1)
            for task in tasks
            for device in task["Resources"]["Devices"] or []
        ),
        reserved_ports=tuple(_ports(networks, "ReservedPorts")),
        dynamic_ports=tuple(_ports(networks, "DynamicPorts")),
        volumes=tuple(
            volume["Source"]
            for volume in (group["Volumes"] or {}).values()
            if volume.get("Type", "host") == "host"
        ),
        constraints=tuple((one["LTarget"], one.get("Operand") or "=", one["RTarget"]) for one in rules),
        datacenters=tuple(job["Datacenters"] or ("*",)),
        pool=job["NodePool"],
    )


def _before(task: Mapping[str, Any]) -> bool:
    life = task.get("Lifecycle") or {}
    return life.get("Hook") in {"prestart", "poststop"} and not life.get("Sidecar")


def _sum(resources: list[Mapping[str, Any]], name: str) -> int:
    return sum(one[name] for one in resources)


def _ports(networks: list[Mapping[str, Any]], name: str) -> Iterator[tuple[str, int, str]]:
    for network in networks:
        for port in network.get(name) or []:
            yield (
                port["Label"],
                (port.get("Value") if name == "ReservedPorts" else port.get("To")) or 0,
                port.get("HostNetwork") or "default",
            )


def in_datacenter(node: Node, demand: Demand) -> bool:
    """Return whether a node is in one of the datacenters asked for."""
    return any(
        node.datacenter == name or (name.endswith("*") and node.datacenter.startswith(name[:-1]))
        for name in demand.datacenters
    )


def filtered(node: Node, demand: Demand) -> str | None:
    """Return why a node can never take it."""
    for left, operand, right in demand.constraints:
        if not holds(node, left, operand, right):
            return f"{left} {operand} {right}"
    if not demand.drivers <= set(node.drivers):
        return "missing drivers"
    if not set(demand.volumes) <= set(node.host_volumes):
        return "missing compatible host volumes"
    for name, count in demand.devices:
        if sum(device.count for device in node.devices if device.matches(name)) < count:
            return "missing devices"
    for label, _, network in (*demand.reserved_ports, *demand.dynamic_ports):
        if network != "default" and network not in node.host_networks:
            return f'missing host network "{network}" for port "{label}"'
    return None


def exhausted(node: Node, demand: Demand) -> str | None:
    """Return the first dimension in which a node is too full."""
    for label, value, _ in demand.reserved_ports:
        if value in node.ports_taken:
            return f"network: reserved port collision {label}={value}"
    for name, count in demand.devices:
        if len(free_devices(node, name)) < count:
            return "devices: no devices match request"
    room = {
        "cores": (len(node.cores_taken) + demand.cores, node.cores),
        "cpu": (node.cpu_taken + demand.cpu, node.cpu),
        "memory": (node.memory_taken + demand.memory, node.memory_mib),
        "disk": (node.disk_taken + demand.disk, node.disk_mib),
    }
    return next((name for name, (wanted, there) in room.items() if wanted > there), None)


def free_devices(node: Node, name: str) -> list[tuple[Device, str]]:
    """Return the devices of that name that nobody has."""
    return [
        (device, one)
        for device in node.devices
        if device.matches(name)
        for one in instances(device)
        if one not in node.devices_taken.get(device.model, ())
    ]


def holds(node: Node, left: str, operand: str, right: str) -> bool:
    """Return whether a constraint holds on a node; operands that are not emulated raise."""
    value, wanted = _resolved(node, left), _resolved(node, right)
    kind = OPERANDS.get(operand, operand)
    if kind not in TESTS:
        raise ValueError(f"the constraint operand {operand!r} is not emulated")
    if kind in {"is_set", "is_not_set", "!="}:
        return TESTS[kind](value, wanted)
    return value is not None and wanted is not None and TESTS[kind](value, wanted)


def _resolved(node: Node, target: str) -> str | None:
    return node.attribute(target) if target.startswith("${") else target


def _ordered(text: str) -> tuple[float, str]:
    try:
        return float(text), ""
    except ValueError:
        return 0.0, text


def _versions(value: str, wanted: str) -> bool:
    found = _numbers(value)
    for bound in wanted.split(","):
        match = BOUND.match(bound)
        if match is None:
            return False
        operand, number = match.groups()
        limit = _numbers(number)
        if operand == "~>":
            kept = max(1, len(number.split(".")) - 1)
            if found < limit or found[:kept] != limit[:kept]:
                return False
        elif not _compared(found, operand or "=", limit):
            return False
    return True


def _numbers(text: str) -> tuple[int, ...]:
    found = [int(one) for one in VERSION.findall(text)[:3]]
    return tuple(found + [0] * (3 - len(found)))


def _compared(left: Any, operand: str, right: Any) -> bool:
    return bool(
        {
            "<": left < right,
            "<=": left <= right,
            ">": left > right,
            ">=": left >= right,
            "=": left == right,
        }[operand]
    )


def _set(text: str) -> set[str]:
    return {one.strip() for one in text.split(",")}


TESTS: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda value, wanted: value == wanted,
    "!=": lambda value, wanted: value != wanted,
    "is_set": lambda value, _: value is not None,
    "is_not_set": lambda value, _: value is None,
    "regexp": lambda value, wanted: re.search(wanted, value) is not None,
    "version": _versions,
    "set_contains": lambda value, wanted: _set(wanted) <= _set(value),
    "set_contains_any": lambda value, wanted: not _set(wanted).isdisjoint(_set(value)),
    "<": lambda value, wanted: _ordered(value) < _ordered(wanted),
    "<=": lambda value, wanted: _ordered(value) <= _ordered(wanted),
    ">": lambda value, wanted: _ordered(value) > _ordered(wanted),
    ">=": lambda value, wanted: _ordered(value) >= _ordered(wanted),
    "distinct_hosts": lambda _value, _wanted: True,
    "distinct_property": lambda _value, _wanted: True,
}
"""How each operand compares; a group of one has no other to be distinct from."""
