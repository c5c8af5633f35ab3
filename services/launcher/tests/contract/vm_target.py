"""This machine's QEMU, with kernels of some dozen bytes that each have one habit."""

from dataclasses import replace
from typing import Any, ClassVar

from services.launcher.tests.local import small_machines

from datalabs_contracts.datalabs import EnvironmentSpecification, Kind, Runtime, Runtimes, VmRuntime
from datalabs_launcher.local.adapter import LocalScheduler
from datalabs_launcher.local.config import LocalSettings
from datalabs_launcher.local.vm import probe
from datalabs_launcher.scheduler import LabJob, Scheduler

from .process_target import shown_to_anybody
from .target import Does, Target, Unable

TINY = "a kernel of some dozen bytes runs no programs"
LACKS = {
    "commands": TINY,
    "secrets": TINY,
    "signals": "a machine that switches itself off has no signal",
    "memory": "a machine has the memory that it was given; what its guest does with it is the guest's",
}
KERNELS = {"polite": small_machines.POLITE, "deaf": small_machines.DEAF, "leaves": small_machines.LEAVES}


class VmTarget(Target):
    """Virtual machines of the local scheduler."""

    name = "vm"
    runtime = Runtime.VM
    marks = ("vm",)
    memory_mib = 512
    seconds = 60.0
    lacks: ClassVar[dict[str, str]] = {
        "away": "there is nothing between the launcher and its own machine",
        **LACKS,
    }

    async def open(self, ground: Any) -> None:
        del ground
        if probe.tools() is None:
            raise Unable("QEMU is not installed (`make vm-tools`)")
        self._images = self.folder / "images"
        for name, program in KERNELS.items():
            small_machines.make(self._images, name, program)

    def adapter(self) -> LocalScheduler:
        settings = LocalSettings(vm_images=[self._images], vm_accelerator="tcg")
        return LocalScheduler(state_folder=self.folder, settings=settings, api_port=18_123)

    async def warm(self, adapter: Scheduler) -> None:
        for name in KERNELS:
            runtimes = Runtimes(order=[Runtime.VM], vm=VmRuntime(disk=name))
            wanted = EnvironmentSpecification(datalab="stub", version="1", runtimes=runtimes, source="")
            async for _ in adapter.prepare(wanted, Runtime.VM):
                pass

    async def up(self, adapter: Scheduler, job: LabJob) -> bool:
        return await greeted(adapter, job)

    def runs(self, job: LabJob, does: Does) -> LabJob:
        return as_machine(job, does)

    def starts(self, job: LabJob) -> int:
        log = self.folder / "labs" / job.job_id / "log"
        return log.read_bytes().count(small_machines.HELLO.strip()) if log.exists() else 0

    async def missing(self, job: LabJob) -> LabJob:
        return replace(job, vm=VmRuntime(disk="nowhere"))

    async def shown(self, job: LabJob) -> str:
        """Return the command lines of everything, and what anybody may read of the job's folder."""
        return shown_to_anybody(self.folder, job)


def as_machine(job: LabJob, does: Does) -> LabJob:
    """Return the job as a machine with the habit that comes closest."""
    habit = "leaves" if does.seconds is not None else "deaf" if does.ignores else "polite"
    return replace(job, vm=VmRuntime(disk=habit), kind=Kind.DESKTOP)


async def greeted(adapter: Scheduler, job: LabJob) -> bool:
    """Return whether the guest has said that it is there; before that it feels no power button."""
    lines, _ = await adapter.logs(job.job_id, lines=50)
    hello = small_machines.HELLO.decode().strip()
    return any(hello in one for one in lines)  # some firmware speaks on the same line before it
