"""Taking room on a node for a group, and giving it back."""

from collections.abc import Mapping
from typing import Any

from datalabs_testing.nomad.feasibility import Demand, free_devices
from datalabs_testing.nomad.nodes import Node
from datalabs_testing.nomad.records import Allocation


def taken(node: Node, group: Mapping[str, Any], demand: Demand) -> dict[str, Any]:
    """Take what a group needs of a node and return how it is written in the allocation."""
    ports = []
    for label, value, network in demand.reserved_ports:
        node.ports_taken.add(value)
        ports.append(_port(node, label, value, 0, network))
    for label, inside, network in demand.dynamic_ports:
        value = next(one for one in range(node.first_port, node.last_port + 1) if one not in node.ports_taken)
        node.ports_taken.add(value)
        ports.append(_port(node, label, value, inside, network))
    node.disk_taken += demand.disk
    tasks: dict[str, Any] = {}
    for task in group["Tasks"]:
        asked = task["Resources"]
        share = node.cpu // max(1, node.cores) * asked["Cores"] if asked["Cores"] else asked["CPU"]
        cores = [one for one in range(node.cores) if one not in node.cores_taken][: asked["Cores"]]
        node.cores_taken |= set(cores)
        node.cpu_taken += share
        node.memory_taken += asked["MemoryMB"]
        tasks[task["Name"]] = {
            "Cpu": {"CpuShares": share, "ReservedCores": cores or None},
            "Devices": [_devices(node, one) for one in asked["Devices"] or []] or None,
            "Memory": {"MemoryMB": asked["MemoryMB"], "MemoryMaxMB": asked["MemoryMaxMB"]},
            "Networks": None,
        }
    return {
        "Shared": {
            "DiskMB": demand.disk,
            "Networks": [{"IP": node.address, "DynamicPorts": [_bare(one) for one in ports]}]
            if ports
            else None,
            "Ports": ports or None,
        },
        "TaskLifecycles": {task["Name"]: task["Lifecycle"] for task in group["Tasks"]},
        "Tasks": tasks,
    }


def _port(node: Node, label: str, value: int, inside: int, network: str) -> dict[str, Any]:
    found = {"HostIP": node.address, "Label": label, "Value": value}
    if inside:
        found["To"] = inside
    if network != "default":
        found["HostNetwork"] = network
    return found


def _bare(port: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in port.items() if name != "HostIP"}


def _devices(node: Node, asked: Mapping[str, Any]) -> dict[str, Any]:
    free = free_devices(node, asked["Name"])[: asked.get("Count") or 1]
    device = free[0][0]
    names = [one for _, one in free]
    node.devices_taken.setdefault(device.model, set()).update(names)
    return {"DeviceIDs": names, "Name": device.model, "Type": device.type, "Vendor": device.vendor}


def give_back(node: Node, allocation: Allocation) -> None:
    """Give back what an allocation had."""
    node.allocations.pop(allocation.id, None)
    shared = allocation.resources["Shared"]
    node.disk_taken -= shared["DiskMB"]
    node.ports_taken -= {port["Value"] for port in shared["Ports"] or []}
    for task in allocation.resources["Tasks"].values():
        node.cpu_taken -= task["Cpu"]["CpuShares"]
        node.memory_taken -= task["Memory"]["MemoryMB"]
        node.cores_taken -= set(task["Cpu"]["ReservedCores"] or ())
        for device in task["Devices"] or []:
            node.devices_taken[device["Name"]] -= set(device["DeviceIDs"])
