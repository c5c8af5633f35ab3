"""Nomad: the emulated cluster always, a real agent where there is one, with labs by docker and by raw_exec."""

import contextlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import aiohttp
from services.launcher.tests.local import small_machines

from datalabs_contracts.datalabs import ContainerRuntime, ProcessRuntime, Runtime, VmRuntime
from datalabs_launcher.local.vm import probe
from datalabs_launcher.nomad.adapter import NomadScheduler
from datalabs_launcher.nomad.config import NomadSettings
from datalabs_launcher.placement import SCRATCH
from datalabs_launcher.scheduler import LabJob, Scheduler
from datalabs_testing.chaos import ChaosProxy
from datalabs_testing.nomad import (
    Behaviour,
    FakeNomad,
    Node,
    NomadAgent,
    NomadUnavailableError,
    Pace,
    new_agent,
)

from .images import IMAGE, image_present
from .target import OUTPUT, Does, Target, Unable
from .vm_target import KERNELS, LACKS, as_machine, greeted

PLATFORM = "contract"
IMAGES = "images"
PRESENT, ABSENT = "contract/lab:1", "contract/absent:1"


class NomadTarget(Target):
    """What all targets have in common that talk to Nomad's API."""

    address: str
    lacks: ClassVar[dict[str, str]] = {
        "keeps": "a stop that Nomad did not hear is not kept: the launcher, which stores it, says it again"
    }

    def adapter(self) -> NomadScheduler:
        return NomadScheduler(settings=self.settings(), platform=PLATFORM)

    def settings(self) -> NomadSettings:
        return NomadSettings(nomad_address=self.address, nomad_wait=3)

    async def shown(self, job: LabJob) -> str:
        """Return the job, its allocations and its evaluations."""
        async with aiohttp.ClientSession() as session:
            found: list[str] = []
            for path in ("", "/allocations", "/evaluations"):
                async with session.get(f"{self.api}/v1/job/{job.job_id}{path}") as answer:
                    found.append(await answer.text())
            for allocation in json.loads(found[1]):
                async with session.get(f"{self.api}/v1/allocation/{allocation['ID']}") as answer:
                    found.append(await answer.text())
        return "\n".join(found)

    @property
    def api(self) -> str:
        """Where Nomad itself is, past whatever stands before it."""
        return self.address


class FakeNomadTarget(NomadTarget):
    """The emulated cluster, with containers."""

    name = "fake-nomad"
    runs_programs = False
    runtime = Runtime.CONTAINER
    lacks: ClassVar[dict[str, str]] = {
        **NomadTarget.lacks,
        "secrets": "nothing runs in the emulated cluster that could have a secret",
    }

    async def open(self, ground: Any) -> None:
        del ground
        self.fake = FakeNomad(
            nodes=[Node(name="one", cores=8, cpu=16_000), Node(name="two", cores=8, cpu=16_000)],
            pace=Pace(sync=0.1, urgent_sync=0.05, pull=0.05),
            images={PRESENT: Behaviour()},
        )
        await self.fake.start()
        self.address = self.fake.address

    async def close(self) -> None:
        await self.fake.aclose()

    async def cut(self) -> None:
        await self.fake.refuse()

    async def heal(self) -> None:
        await self.fake.accept()

    def runs(self, job: LabJob, does: Does) -> LabJob:
        self.fake.behave(
            job.job_id,
            Behaviour(
                runs_for=0.05
                if does.eats or does.signal
                else None
                if does.seconds is None
                else does.silent + does.seconds,
                says=(does.says,) if does.says else (),
                exit_code=137 if does.eats else does.code,
                signal=does.signal,
                out_of_memory=does.eats,
                lines=tuple(does.line(number)[: does.width] for number in range(does.lines)),
                ignores_stop=does.ignores,
                start_seconds=0.05,
            ),
        )
        command = ["sh", "-c", does.script()]
        return replace(job, container=ContainerRuntime(image=PRESENT, command=command))

    def starts(self, job: LabJob) -> int:
        return self.fake.starts[job.job_id]

    async def missing(self, job: LabJob) -> LabJob:
        del self.fake._behaviours[job.job_id]
        return replace(job, container=ContainerRuntime(image=ABSENT))


class RealNomadTarget(NomadTarget):
    """A real agent, of this run's own unless NOMAD_ADDR names one; a proxy stands before it, so that it can be away."""

    marks = ("nomad",)
    seconds = 45.0

    @classmethod
    async def ground(cls) -> NomadAgent:
        try:
            agent = new_agent()
            agent.image_paths = [agent.folder / IMAGES]
            return await agent.start()
        except NomadUnavailableError as error:
            raise Unable(str(error)) from None

    @classmethod
    async def raze(cls, ground: NomadAgent) -> None:
        await ground.aclose()

    async def open(self, ground: NomadAgent) -> None:
        self._agent = ground
        self._proxy = ChaosProxy("127.0.0.1", ground.ports[0])
        await self._proxy.start()
        self.address = f"http://127.0.0.1:{self._proxy.port}"

    @property
    def api(self) -> str:
        return self._agent.address

    async def close(self) -> None:
        await self._agent.purge_all()
        await self._proxy.aclose()

    async def cut(self) -> None:
        self._proxy.refuse()

    async def heal(self) -> None:
        self._proxy.heal()

    def starts(self, job: LabJob) -> int:
        return self.noted(job)


class NomadDockerTarget(RealNomadTarget):
    """A real agent with containers."""

    name = "nomad-docker"
    runtime = Runtime.CONTAINER
    marks = ("nomad", "docker")
    lacks: ClassVar[dict[str, str]] = {
        **NomadTarget.lacks,
        "instant": "Nomad begins to read a container's output some tenths of a second after its start (GH-6931)",
    }

    async def open(self, ground: NomadAgent) -> None:
        reason = image_present()
        if reason:
            raise Unable(reason)
        await super().open(ground)

    def runs(self, job: LabJob, does: Does) -> LabJob:
        return replace(job, container=ContainerRuntime(image=IMAGE, command=["sh", "-c", does.script()]))

    async def missing(self, job: LabJob) -> LabJob:
        return replace(job, container=ContainerRuntime(image=ABSENT))


class NomadRawExecTarget(RealNomadTarget):
    """A real agent with processes outside containers."""

    name = "nomad-raw-exec"
    runtime = Runtime.PROCESS
    lacks: ClassVar[dict[str, str]] = {
        **NomadTarget.lacks,
        "memory": "raw_exec does not hold a lab to its memory",
        "image": "the environments of process labs on a cluster are the operator's",
        "secrets": "process labs on a cluster are given no secrets beyond their token file",
    }

    def settings(self) -> NomadSettings:
        return (
            super()
            .settings()
            .model_copy(
                update={"nomad_allow_raw_exec": True, "nomad_environments": self.folder / "environments"}
            )
        )

    def runs(self, job: LabJob, does: Does) -> LabJob:
        program = self.folder / "environments" / "stub-1" / "bin" / "sh"
        program.parent.mkdir(parents=True, exist_ok=True)
        if not program.exists():
            shutil.copy(Path("/bin/sh").resolve(), program)
        scratch = next(mount.source for mount in job.mounts if mount.target == SCRATCH)
        return replace(
            job,
            process=ProcessRuntime(command=[str(program), "-c", does.script()]),
            environment={**job.environment, OUTPUT: f"{scratch}/runs"},
        )


class NomadQemuTarget(RealNomadTarget):
    """A real agent with virtual machines."""

    name = "nomad-qemu"
    runtime = Runtime.VM
    marks = ("nomad", "vm")
    memory_mib = 512
    seconds = 60.0
    lacks: ClassVar[dict[str, str]] = {
        **NomadTarget.lacks,
        **LACKS,
        "batch": "a machine's screen is at its port, and batch labs have none",
        "grace": "the driver takes no signals, and Nomad keeps to the kill time that a job began with",
    }

    async def open(self, ground: NomadAgent) -> None:
        if probe.tools() is None:
            raise Unable("QEMU is not installed (`make vm-tools`)")
        self._images = ground.folder / IMAGES
        for name, program in KERNELS.items():
            if not (self._images / name).exists():
                small_machines.make(self._images, name, program)
        await super().open(ground)

    def settings(self) -> NomadSettings:
        return super().settings().model_copy(update={"nomad_image_disks": self._images})

    def runs(self, job: LabJob, does: Does) -> LabJob:
        return as_machine(job, does)

    async def up(self, adapter: Scheduler, job: LabJob) -> bool:
        return await greeted(adapter, job)

    def starts(self, job: LabJob) -> int:
        """Return how many emulators run for it."""
        found = 0
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (process / "cmdline").read_bytes()
                found += b"qemu-system" in words[:80] and job.lab_id.encode() in words
        return found

    async def missing(self, job: LabJob) -> LabJob:
        return replace(job, vm=VmRuntime(disk="nowhere"))
