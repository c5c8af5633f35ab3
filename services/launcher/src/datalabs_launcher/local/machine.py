"""This machine, made ready for labs: its interpreter, its means of keeping labs apart, its networks, what it holds."""

import os
import shutil
import socket
import time
from collections.abc import Collection
from pathlib import Path

import structlog

from datalabs_contracts.datalabs import Runtime
from datalabs_contracts.labs import Capacity, Node, NodeState, Reason
from datalabs_launcher.local import cgroups, interpreter, lab_package, network, pacing, probe
from datalabs_launcher.local.config import LOCAL, Isolation, LocalSettings
from datalabs_launcher.local.environments import Environments
from datalabs_launcher.local.interpreter import Interpreter
from datalabs_launcher.local.layout import Layout
from datalabs_launcher.local.specification import Network, Place, passed_environment
from datalabs_launcher.local.vm.host import VmHost, VmPlace
from datalabs_launcher.scheduler import LabJob, SubmitRefusedError

_MIB = 2**20


class Machine:
    """What stays the same from lab to lab; `prepare` comes first."""

    interpreter: Interpreter
    plan: network.Plan
    means: probe.Means
    addresses: network.Addresses
    environments: Environments

    def __init__(
        self, *, layout: Layout, settings: LocalSettings, api_address: str | None, api_port: int
    ) -> None:
        self._layout, self._settings = layout, settings
        self._given_address, self._api_port = api_address, api_port
        self.vm = VmHost(layout.state_folder, settings)
        self._firm: network.Firm | None = None
        self._memory_mib = memory_for_labs(settings)
        self._passed = passed_environment(settings.passed_environment, dict(os.environ))

    def prepare(self) -> None:
        """Make the machine ready; blocks for some tenths of a second, may be repeated."""
        layout, settings = self._layout, self._settings
        layout.make()
        self.vm.prepare()
        self.interpreter = interpreter.find(settings.python, copies=layout.environments)
        self.plan = network.plan_of(layout.state_folder)
        self.means = probe.find(
            layout.labs,
            self.interpreter,
            self.plan,
            wanted=settings.isolation,
            own_network=settings.own_network,
        )
        if self.means.networks:
            self._firm = network.establish(
                self.plan,
                address=self.api_address,
                port=self._api_port,
                egress=settings.egress,
                refused=settings.egress_refused,
            )
        own = self.means.networks
        self.addresses = network.Addresses(
            network=self.plan.network if own else self.plan.loopback,
            file=layout.labs / ("addresses" if own else "loopback-addresses"),
            skip={self.api_address, probe.address_of(self.plan)},
            now=time.time,
        )
        self.environments = Environments(
            folder=layout.environments,
            interpreter=self.interpreter,
            package=settings.lab_package or lab_package.beside_the_platform(),
            offline=settings.offline,
            shared_files=self.means.isolation is not Isolation.NONE,
        )
        structlog.get_logger(__name__).info(
            "local.ready",
            isolation=self.means.isolation.value,
            networks=self.means.networks,
            control_groups=sorted(self.means.groups),
            reasons=self.means.reasons,
        )

    def leave(self) -> None:
        """Take back what was put in place; for when no lab lives. The next start puts it in place again."""
        if self._firm is not None:
            network.dissolve(self.plan, address=self.api_address)
        cgroups.remove_all(self.means.groups)

    @property
    def api_address(self) -> str:
        """The address at which labs with a network of their own reach the edge."""
        return self._given_address or self.plan.api_address

    @property
    def operators_only(self) -> bool:
        """Whether only operators may launch process labs here: they could see other people's files."""
        return self.means.isolation is Isolation.NONE and not self._settings.insecure_process_labs

    def runtimes(self) -> list[Runtime]:
        """Return what runs here."""
        return [Runtime.PROCESS, *([Runtime.VM] if self.vm.offered else [])]

    def vm_notices(self) -> list[str]:
        """Return what a person should know before launching a virtual machine here."""
        return self.vm.notices(own_network=self.means.networks)

    def notices(self) -> list[str]:
        """Return what a person should know before launching here."""
        found: list[str] = []
        if self.means.isolation is Isolation.NONE:
            found.append(
                "Labs are not kept apart here: they run as the platform's own user and see its files."
            )
            if self.operators_only:
                found.append("Only operators may launch them.")
        elif self.means.isolation is Isolation.USER:
            found.append("Labs have files of their own here, but all run as one user of this machine.")
        if not self.means.networks:
            found.append(
                "Labs share this machine's network: its services and other labs can be reached from them."
            )
        if not {"memory", "unified"} & set(self.means.groups):
            found.append(
                "Memory is watched here, not bounded: a lab over its limit is ended within a second."
            )
        return [*found, *(self._firm.notices if self._firm else ())]

    def capacity(
        self, *, cores_taken: float, memory_taken_mib: int, disk_taken_mib: int, labs: int
    ) -> Capacity:
        """Return the whole, cores overcommitted, and what is taken."""
        cores = pacing.cores_here() * self._settings.core_overcommit
        here = Node(
            name=socket.gethostname(),
            cluster=LOCAL,
            state=NodeState.READY,
            runtimes=self.runtimes(),
            cores=cores,
            memory_mib=self._memory_mib,
            disk_mib=shutil.disk_usage(self._layout.state_folder).free // _MIB + disk_taken_mib,
            cores_taken=cores_taken,
            memory_taken_mib=memory_taken_mib,
            disk_taken_mib=disk_taken_mib,
            labs=labs,
        )
        return Capacity(
            cores=cores,
            memory_mib=self._memory_mib,
            cores_taken=cores_taken,
            memory_taken_mib=memory_taken_mib,
            queued=0,
            runtimes=self.runtimes(),
            notices=self.notices(),
            nodes=[here],
        )

    def place_for(self, job: LabJob, *, taken: Collection[str], machine: VmPlace | None = None) -> Place:
        """Return where a job will run, with an address outside `taken`; `machine` is a virtual machine's own part.

        Raises `SubmitRefusedError` when it cannot run here.
        """
        if job.gpus:
            raise SubmitRefusedError("On this machine labs with GPUs run as containers only.")
        software = machine.installed.folder if machine is not None else self._environment(job)
        for mount in job.mounts:
            if not os.path.exists(mount.source):  # noqa: PTH110 - a string that stays one
                raise SubmitRefusedError(
                    f"{mount.target} cannot be mounted: {mount.source} is missing.",
                    reason=Reason.VOLUME_UNAVAILABLE,
                )
        address = self.addresses.give(taken)
        if address is None:
            raise SubmitRefusedError("No address is free: too many labs ended in the last two minutes.")
        return Place(
            folder=self._layout.attempt(job.job_id),
            environment=software,
            machine=machine,
            interpreter=self.interpreter,
            isolation=self.means.isolation,
            address=address,
            network=self._network(job) if self.means.networks else None,
            cgroups={name: f"{base}/{job.job_id}" for name, base in self.means.groups.items()},
            pids=self._settings.processes_per_lab,
            log_bytes=self._settings.log_mib * _MIB,
            poke=self._layout.news,
            uid=job.uid if self.means.isolation is Isolation.ROOT else os.geteuid(),
            passed=self._passed,
        )

    def _environment(self, job: LabJob) -> Path:
        if job.runtime is not Runtime.PROCESS or job.process is None:
            raise SubmitRefusedError(f"This machine does not run labs as {job.runtime}.")
        environment = self.environments.ready(job.datalab, job.version, job.process)
        if environment is None:
            raise SubmitRefusedError(
                "The environment of this version is not ready.", reason=Reason.IMAGE_UNAVAILABLE
            )
        return environment

    def _network(self, job: LabJob) -> Network:
        return Network(
            interface=self.plan.interface(job.job_id),
            gateway=self.api_address,
            group=self.plan.group,
            forward=self._firm is not None and self._firm.egress,
        )


def memory_for_labs(settings: LocalSettings) -> int:
    """Return the memory in MiB that labs of all kinds may have here together."""
    total = pacing.memory_here_mib()
    reserve = settings.memory_reserve_mib
    if reserve is None:
        reserve = min(4096, max(1024, total // 10))
    return max(0, total - reserve)
