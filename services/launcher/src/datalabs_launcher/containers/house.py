"""This machine as the home of container labs: its network for them, their images, their places, what it holds."""

import asyncio
import contextlib
import os
import shutil
import socket
import time
from collections.abc import Sequence
from pathlib import Path

from datalabs_contracts.datalabs import Runtime
from datalabs_contracts.labs import Capacity, Node, NodeState, Reason
from datalabs_launcher.containers import bridge, gpus
from datalabs_launcher.containers.config import ContainerSettings
from datalabs_launcher.containers.engine import Document, Engine, EngineRefusedError
from datalabs_launcher.containers.folders import About, Record, about_of
from datalabs_launcher.containers.images import Images
from datalabs_launcher.containers.specification import (
    PLATFORM_LABEL,
    Place,
    document_of,
    own_files,
    port_of,
)
from datalabs_launcher.local import machine, network, pacing, resolver
from datalabs_launcher.local.config import LOCAL, LocalSettings
from datalabs_launcher.local.layout import Layout
from datalabs_launcher.local.specification import passed_environment
from datalabs_launcher.placement import SCRATCH
from datalabs_launcher.scheduler import LabJob, SubmitRefusedError

_MIB = 2**20
_OWN_DRIVER = "cgroupfs"
"""With this driver a parent group is a path; with systemd's it would have to be a slice."""


class House:
    """What stays the same from lab to lab; `prepare` comes first, and again whenever the engine was away."""

    def __init__(
        self,
        *,
        engine: Engine,
        state_folder: Path,
        settings: LocalSettings,
        containers: ContainerSettings,
        api_address: str | None,
        api_port: int,
    ) -> None:
        self.layout = Layout(state_folder)
        self.plan = network.plan_of(self.layout.state_folder)
        self.images = Images(engine)
        self._engine, self._settings, self._containers = engine, settings, containers
        self._api_address, self._api_port = api_address or self.plan.api_address, api_port
        self._memory_mib = machine.memory_for_labs(settings)
        self._cgroup_parent = ""
        self._gpus: list[gpus.Gpu] = []
        self._passes_gpus = False
        self._bridge: bridge.Bridge | None = None
        self._connecting = asyncio.Lock()
        self._addresses: network.Addresses | None = None
        names = [
            name for name in settings.passed_environment if "CERT" not in name and "CA_BUNDLE" not in name
        ]
        # An image brings its own certificates: the paths of this machine's lead nowhere in it.
        self._passed = passed_environment(names, dict(os.environ))

    @property
    def label(self) -> str:
        """The label by which this platform's containers are known among all of the engine's."""
        return f"{PLATFORM_LABEL}={self.plan.name}"

    @property
    def operators_only(self) -> bool:
        """Whether labs could reach what they must not, so that only operators may launch them."""
        return not self._walled and not self._settings.insecure_process_labs

    @property
    def _walled(self) -> bool:
        return self._bridge.walled if self._bridge else network.may_make_networks()

    def notices(self) -> list[str]:
        """Return what a person should know before launching here."""
        own = [gpus.NOT_PASSED] if self._gpus and not self._passes_gpus else []
        if self._bridge is not None:
            return [*self._bridge.notices, *own]
        return own if self._walled else [bridge.UNWALLED, *own]

    async def prepare(self, *, labs: bool) -> None:
        """Get to know the engine, and have the network when there are `labs`, else with the first.

        Raises `SchedulerAwayError` when no engine answers.
        """
        about = await self._engine.information()
        self._cgroup_parent = (
            f"/datalabs-{self.plan.name}" if about.get("CgroupDriver") == _OWN_DRIVER else ""
        )
        self._gpus, self._passes_gpus = await asyncio.to_thread(gpus.found), gpus.passes(about)
        self._bridge = None
        if labs:
            await self.connect()

    async def connect(self) -> bridge.Bridge:
        """Have the network and its walls; what stands already is looked at again, an operator may have tidied up."""
        async with self._connecting:
            if self._bridge is None or not await self._engine.network(self._bridge.name):
                self._bridge = await bridge.establish(
                    self._engine,
                    self.plan,
                    api_address=self._api_address,
                    api_port=self._api_port,
                    egress=self._settings.egress,
                    refused=self._settings.egress_refused,
                )
            if self._addresses is None:
                self._addresses = network.Addresses(
                    network=self._bridge.subnet,
                    file=self.layout.labs / "container-addresses",
                    skip=set(),
                    now=time.time,
                )
            return self._bridge

    async def leave(self) -> None:
        """Take the network back, and the groups that the engine leaves in every hierarchy."""
        if self._bridge is not None:
            await bridge.dissolve(self._engine, self.plan, address=self._api_address)
        await asyncio.to_thread(_remove_groups, self._cgroup_parent)

    def rest(self, address: str, ended: float) -> None:
        """Note when the last lab of an address ended."""
        if self._addresses is not None and address:
            self._addresses.rest(address, ended)

    def capacity(self, running: Sequence[About], *, offered: list[Runtime]) -> Capacity:
        """Return the machine and what is taken of it by containers."""
        disk = sum(about.disk_mib for about in running)
        devices = self._gpus if self._passes_gpus else []
        taken = {one for about in running for one in about.gpus}
        node = Node(
            name=socket.gethostname(),
            cluster=LOCAL,
            state=NodeState.READY,
            runtimes=offered,
            cores=pacing.cores_here() * self._settings.core_overcommit,
            memory_mib=self._memory_mib,
            disk_mib=shutil.disk_usage(self.layout.state_folder).free // _MIB + disk,
            cores_taken=sum(about.cores for about in running),
            memory_taken_mib=sum(about.memory_mib for about in running),
            disk_taken_mib=disk,
            gpus=gpus.counted(devices),
            gpus_taken=gpus.counted([one for one in devices if one.id in taken]),
            labs=len(running),
        )
        return Capacity(
            cores=node.cores,
            memory_mib=node.memory_mib,
            cores_taken=node.cores_taken,
            memory_taken_mib=node.memory_taken_mib,
            queued=0,
            runtimes=offered,
            notices=self.notices() if offered else [],
            nodes=[node],
        )

    async def accept(self, job: LabJob, record: Record, *, running: Sequence[About]) -> Document:
        """Take a job on, with a place of its own beside those that run, and return what the engine is to be told.

        Raises `SubmitRefusedError` when it cannot run here.
        """
        if job.runtime is not Runtime.CONTAINER or job.container is None:
            raise SubmitRefusedError("This engine runs containers only.")
        image = await self.images.find(job.container.image)
        if image is None:
            raise SubmitRefusedError(
                f"The image {job.container.image} is not on this machine.", reason=Reason.IMAGE_UNAVAILABLE
            )
        _check_mounts(job)
        connected = await self._connect_for(job)
        assert self._addresses is not None
        address = (
            record.about.address
            if record.accepted
            else self._addresses.give({one.address for one in running})
        )
        if address is None:
            raise SubmitRefusedError("No address is free: too many labs ended in the last two minutes.")
        devices = record.about.gpus if record.accepted else self._devices(job, running)
        place = Place(
            platform=self.plan.name,
            folder=record.folder,
            image=image.id,
            exposed=image.exposed,
            network=connected.name,
            address=address,
            uid=job.uid if os.geteuid() == 0 else os.geteuid(),
            pids=self._settings.processes_per_lab,
            cores=self._ceiling(job.cores),
            log_bytes=self._settings.log_mib * _MIB,
            cgroup_parent=self._cgroup_parent,
            passed=self._passed,
            gpus=devices,
        )
        about = about_of(
            job,
            address=address,
            port=port_of(job, job.container, image.exposed),
            pids=place.pids,
            read_only=job.container.read_only,
            scratch=SCRATCH,
            gpus=devices,
        )
        files = own_files(job, place.uid, image.files, resolver.text_for_labs() if connected.egress else None)
        try:
            document = document_of(job, place)
        except ValueError as error:
            raise SubmitRefusedError(str(error)) from None
        await asyncio.to_thread(record.accept, about, files, secret=job.lab_secret, uid=place.uid)
        return document

    def _devices(self, job: LabJob, running: Sequence[About]) -> tuple[str, ...]:
        """Return the GPUs of a lab, none of them anybody else's."""
        if not job.gpus:
            return ()
        if not self._passes_gpus:
            raise SubmitRefusedError("The container engine of this machine gives no GPUs to labs.")
        taken = {device for one in running for device in one.gpus}
        devices = gpus.chosen(self._gpus, job.gpus, job.gpu_name, taken=taken)
        if devices is None:
            raise SubmitRefusedError("Not enough GPUs of this machine are free.", reason=Reason.NO_CAPACITY)
        return devices

    async def _connect_for(self, job: LabJob) -> bridge.Bridge:
        try:
            return await self.connect()
        except EngineRefusedError as refused:
            raise SubmitRefusedError(
                f"The labs' network could not be made for {job.job_id}: {refused}"
            ) from None

    def _ceiling(self, cores: float) -> float:
        """Return how many cores a lab may use while nobody else wants them."""
        return min(float(pacing.cores_here()), max(1.0, cores * self._containers.core_burst))


def _check_mounts(job: LabJob) -> None:
    for mount in job.mounts:
        if not os.path.exists(mount.source):  # noqa: PTH110 - a string that stays one
            raise SubmitRefusedError(
                f"{mount.target} cannot be mounted: {mount.source} is missing.",
                reason=Reason.VOLUME_UNAVAILABLE,
            )


def _remove_groups(parent: str) -> None:
    if parent:
        for folder in Path("/sys/fs/cgroup").glob(f"*{parent}"):
            with contextlib.suppress(OSError):  # somebody is still in it
                folder.rmdir()
