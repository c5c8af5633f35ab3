"""The cluster's machines as operators and the queue see them. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from datalabs_contracts.datalabs import Runtime
from datalabs_contracts.labs import Capacity, Node, NodeState
from datalabs_launcher.nomad.config import NOMAD, NomadSettings

Document = Mapping[str, Any]
TUNED = "datalabs_answers_early"
"""A node's own word, in its Meta, that asking a port before its lab is there costs nothing (compose/nomad/node-setup.sh)."""


def runs_labs(node: Document, settings: NomadSettings) -> bool:
    """Return whether a node is one of those that may take labs: of the pool, and with the shared files."""
    pool = settings.nomad_node_pool or "default"
    files = not settings.nomad_volume or settings.nomad_volume in (node.get("HostVolumes") or {})
    return files and node.get("NodePool", "default") in {pool, ""}


def takes_labs(node: Document) -> bool:
    """Return whether Nomad would place something there now."""
    return state_of(node) is NodeState.READY


def state_of(node: Document) -> NodeState:
    """Return whether a node takes labs."""
    if node.get("Status") != "ready":
        return NodeState.UNREACHABLE
    if node.get("Drain"):
        return NodeState.DRAINING
    return NodeState.READY if node.get("SchedulingEligibility") == "eligible" else NodeState.CLOSED


def runtimes_of(node: Document, settings: NomadSettings) -> list[Runtime]:
    """Return what labs a node can run: its healthy drivers, as far as the site wants them."""
    drivers = node.get("Drivers") or {}

    def healthy(name: str) -> bool:
        driver = drivers.get(name) or {}
        return bool(driver.get("Detected") and driver.get("Healthy"))

    found: list[Runtime] = []
    if healthy("docker"):
        found.append(Runtime.CONTAINER)
    if healthy("qemu") and settings.nomad_image_disks is not None:
        found.append(Runtime.VM)
    if healthy("raw_exec") and settings.nomad_allow_raw_exec and settings.nomad_environments is not None:
        found.append(Runtime.PROCESS)
    return found


def node_of(
    node: Document,
    labs: Sequence[Document],
    others: Sequence[Document],
    settings: NomadSettings,
    *,
    lab_disk_mib: int = 0,
) -> Node:
    """Return a machine with what is taken on it: by labs, and by whatever else Nomad runs there.

    Each lab takes `lab_disk_mib` of the node's disk beside its own.
    """
    whole, kept = node.get("NodeResources") or {}, node.get("ReservedResources") or {}

    def free(kind: str, name: str) -> int:
        return int((whole.get(kind) or {}).get(name) or 0) - int((kept.get(kind) or {}).get(name) or 0)

    mhz, memory, disk = 0, 0, 0
    taken: dict[str, int] = {}
    for allocation in [*labs, *others]:
        resources = allocation.get("AllocatedResources") or {}
        disk += int((resources.get("Shared") or {}).get("DiskMB") or 0)
        for task in (resources.get("Tasks") or {}).values():
            mhz += int((task.get("Cpu") or {}).get("CpuShares") or 0)
            memory += int((task.get("Memory") or {}).get("MemoryMB") or 0)
            for device in task.get("Devices") or []:
                name = device_name(device)
                taken[name] = taken.get(name, 0) + len(device.get("DeviceIDs") or [])
    return Node(
        name=str(node.get("Name")),
        cluster=NOMAD,
        state=state_of(node),
        runtimes=runtimes_of(node, settings),
        node_class=str(node.get("NodeClass") or ""),
        cores=round(free("Cpu", "CpuShares") / settings.nomad_core_mhz, 2),
        memory_mib=free("Memory", "MemoryMB"),
        disk_mib=free("Disk", "DiskMB"),
        gpus=gpus_of(whole.get("Devices") or []),
        cores_taken=round(mhz / settings.nomad_core_mhz, 2),
        memory_taken_mib=memory,
        disk_taken_mib=disk,
        lab_disk_mib=lab_disk_mib,
        gpus_taken=taken,
        labs=len(labs),
    )


def device_name(device: Document) -> str:
    """Return the full name of a device: vendor, type and model."""
    return "/".join(str(device.get(part) or "") for part in ("Vendor", "Type", "Name"))


def gpus_of(devices: Sequence[Document]) -> dict[str, int]:
    """Return the healthy GPUs by their full names."""
    found: dict[str, int] = {}
    for device in devices:
        if device.get("Type") != "gpu":
            continue
        healthy = sum(1 for one in device.get("Instances") or [] if one.get("Healthy"))
        found[device_name(device)] = found.get(device_name(device), 0) + healthy
    return found


def capacity_of(nodes: Sequence[Node], notices: list[str]) -> Capacity:
    """Return the whole; machines that take nothing now count for nothing."""
    open_ones = [node for node in nodes if node.state is NodeState.READY]
    return Capacity(
        cores=sum(node.cores for node in open_ones),
        memory_mib=sum(node.memory_mib for node in open_ones),
        cores_taken=sum(node.cores_taken for node in open_ones),
        memory_taken_mib=sum(node.memory_taken_mib for node in open_ones),
        queued=0,
        runtimes=list(dict.fromkeys(runtime for node in open_ones for runtime in node.runtimes)),
        notices=notices,
        nodes=list(nodes),
    )
