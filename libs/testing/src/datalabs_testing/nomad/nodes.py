"""The machines of the emulated cluster, their devices, and what is taken of them."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from datalabs_testing.nomad.records import Allocation, new_id


@dataclass(frozen=True, kw_only=True)
class Device:
    """Like devices of a node: vendor, type and model, and how many."""

    vendor: str = "nvidia"
    type: str = "gpu"
    model: str
    count: int

    def matches(self, asked: str) -> bool:
        """Return whether a request by type, vendor/type, type/model or vendor/type/model means it."""
        return asked in {
            self.type,
            f"{self.vendor}/{self.type}",
            f"{self.type}/{self.model}",
            f"{self.vendor}/{self.type}/{self.model}",
        }


@dataclass(kw_only=True, eq=False)
class Node:
    """A machine of the cluster and what is taken of it. CPU in MHz, memory and disk in MiB."""

    name: str
    cpu: int = 8_000
    cores: int = 4
    memory_mib: int = 16_384
    disk_mib: int = 100_000
    devices: tuple[Device, ...] = ()
    drivers: tuple[str, ...] = ("docker", "qemu", "raw_exec", "mock_driver")
    node_class: str = ""
    datacenter: str = "dc1"
    pool: str = "default"
    address: str = "127.0.0.1"
    first_port: int = 20_000
    last_port: int = 31_999
    host_volumes: tuple[str, ...] = ()
    host_networks: tuple[str, ...] = ("loopback",)
    meta: dict[str, str] = field(default_factory=dict)
    attributes: dict[str, str] = field(default_factory=dict)
    version: str = "2.0.5"
    id: str = field(default_factory=new_id)
    status: str = "ready"
    eligible: bool = True
    drain: bool = False
    create_index: int = 0
    modify_index: int = 0
    allocations: dict[str, Allocation] = field(default_factory=dict)
    cpu_taken: int = 0
    memory_taken: int = 0
    disk_taken: int = 0
    cores_taken: set[int] = field(default_factory=set)
    ports_taken: set[int] = field(default_factory=set)
    devices_taken: dict[str, set[str]] = field(default_factory=dict)

    def attribute(self, target: str) -> str | None:
        """Return what `${…}` means here."""
        fixed = {
            "node.unique.id": self.id,
            "node.unique.name": self.name,
            "node.class": self.node_class,
            "node.datacenter": self.datacenter,
            "node.pool": self.pool,
        }
        name = target.removeprefix("${").removesuffix("}")
        if name in fixed:
            return fixed[name]
        if name.startswith("meta."):
            return self.meta.get(name.removeprefix("meta."))
        return self.all_attributes().get(name.removeprefix("attr."))

    def all_attributes(self) -> dict[str, str]:
        """Return what the node says of itself."""
        return {
            "kernel.name": "linux",
            "cpu.arch": "amd64",
            "cpu.numcores": str(self.cores),
            "cpu.frequency": str(self.cpu // max(1, self.cores)),
            "cpu.totalcompute": str(self.cpu),
            "memory.totalbytes": str(self.memory_mib * 1024 * 1024),
            "nomad.version": self.version,
            "os.cgroups.version": "2",
            "unique.hostname": self.name,
            "unique.network.ip-address": self.address,
            **{f"driver.{name}": "1" for name in self.drivers},
            **self.attributes,
        }

    def stub(self, *, resources: bool = False) -> dict[str, Any]:
        """Return it as lists have it."""
        found = {
            "Address": self.address,
            "CreateIndex": self.create_index,
            "Datacenter": self.datacenter,
            "Drain": self.drain,
            "Drivers": self._drivers(),
            "HostVolumes": self._volumes(),
            "ID": self.id,
            "LastDrain": None,
            "ModifyIndex": self.modify_index,
            "Name": self.name,
            "NodeClass": self.node_class,
            "NodePool": self.pool,
            "SchedulingEligibility": "eligible" if self.eligible else "ineligible",
            "Status": self.status,
            "StatusDescription": "",
            "Version": self.version,
        }
        return found | (self._resources() if resources else {})

    def full(self) -> dict[str, Any]:
        """Return all of it."""
        found = {
            **self.stub(),
            **self._resources(),
            "Attributes": self.all_attributes(),
            "CgroupParent": "nomad.slice",
            "ComputedClass": f"v1:{self.datacenter}-{self.node_class}",
            "DrainStrategy": None,
            "Events": [],
            "HTTPAddr": f"{self.address}:4646",
            "HostNetworks": {name: {"Name": name, "CIDR": "127.0.0.0/8"} for name in self.host_networks},
            "Links": {},
            "Meta": self.meta,
        }
        del found["Address"]
        del found["Version"]
        return found

    def _drivers(self) -> dict[str, Any]:
        return {
            name: {
                "Attributes": {f"driver.{name}": "true"},
                "Detected": True,
                "HealthDescription": "Healthy",
                "Healthy": True,
            }
            for name in self.drivers
        }

    def _volumes(self) -> dict[str, Any]:
        return {name: {"Name": name, "Path": f"/srv/{name}", "ReadOnly": False} for name in self.host_volumes}

    def _resources(self) -> dict[str, Any]:
        return {
            "NodeResources": {
                "Cpu": {
                    "CpuShares": self.cpu,
                    "ReservableCpuCores": list(range(self.cores)),
                    "TotalCpuCores": self.cores,
                },
                "Devices": list(self._devices()) or None,
                "Disk": {"DiskMB": self.disk_mib},
                "MaxDynamicPort": self.last_port,
                "Memory": {"MemoryMB": self.memory_mib},
                "MinDynamicPort": self.first_port,
                "Networks": [{"Device": "lo", "IP": self.address, "MBits": 1000, "Mode": "host"}],
            },
            "ReservedResources": {
                "Cpu": {"CpuShares": 0, "ReservedCpuCores": None},
                "Disk": {"DiskMB": 0},
                "Memory": {"MemoryMB": 0},
                "Networks": {"ReservedHostPorts": ""},
            },
        }

    def _devices(self) -> Iterable[dict[str, Any]]:
        for device in self.devices:
            yield {
                "Attributes": {},
                "Instances": [
                    {"HealthDescription": "", "Healthy": True, "ID": one, "Locality": None}
                    for one in instances(device)
                ],
                "Name": device.model,
                "Type": device.type,
                "Vendor": device.vendor,
            }


def instances(device: Device) -> list[str]:
    """Return the identifiers of like devices."""
    return [f"{device.model}-{number}" for number in range(device.count)]
