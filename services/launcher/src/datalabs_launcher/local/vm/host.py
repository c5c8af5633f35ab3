"""This machine as a host of virtual machines: what runs them, their images, their disks."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from pathlib import Path

import structlog

from datalabs_contracts.datalabs import VmRuntime
from datalabs_contracts.labs import Reason
from datalabs_launcher.local.config import LocalSettings, VmAccelerator
from datalabs_launcher.local.vm import images, probe
from datalabs_launcher.local.vm.disks import Disk, DiskError, Disks
from datalabs_launcher.local.vm.images import Images, Installed
from datalabs_launcher.machines.arguments import Accelerator, TooSmallError, guest_memory_mib
from datalabs_launcher.machines.image import ImageError
from datalabs_launcher.scheduler import EnvironmentProgress, LabJob, SubmitRefusedError

_HOUR = 3600.0
BUSY_THOUSANDTHS = 50
"""A guest whose processors work more than this is in use; an idle desktop stays below 20, also in software."""
SIGN_SECONDS = 90.0


@dataclass(frozen=True, kw_only=True)
class VmPlace:
    """With what a lab's machine runs here."""

    installed: Installed
    disk: Disk
    accelerator: Accelerator
    cpu: str
    groups: tuple[int, ...]
    devices: tuple[str, ...]


class VmHost:
    """Virtual machines of one state folder; `prepare` comes first."""

    def __init__(self, state_folder: Path, settings: LocalSettings) -> None:
        self._settings = settings
        beside = images.beside_the_platform()
        self.images = Images(state_folder / "images", [*settings.vm_images, *([beside] if beside else [])])
        self._tools = probe.tools()
        qemu_img = self._tools[1] if self._tools else Path("qemu-img")
        self.disks = Disks(state_folder / "machines", qemu_img=qemu_img)
        self._found: probe.Found | str | None = None
        self._tried = threading.Event()

    def prepare(self) -> None:
        """Find out what runs machines here: at once where software does anyway, else after the trial."""
        if self._tools is None:
            self._tried.set()
            return
        trial = threading.Thread(target=self._try, name="vm trial", daemon=True)
        trial.start()
        if self._settings.vm_accelerator is VmAccelerator.KVM:
            trial.join()

    def _try(self) -> None:
        self._found = probe.find(self._settings.vm_accelerator, self._settings.vm_cpu)
        self._tried.set()
        structlog.get_logger(__name__).info("vm.ready", found=str(self._found))

    @property
    def offered(self) -> bool:
        """Whether machines run here."""
        return self._tools is not None and not isinstance(self._found, str)

    def notices(self, *, own_network: bool) -> list[str]:
        """Return what a person should know before launching a machine here."""
        said: list[str] = []
        if self._tools is None:
            return [
                "Virtual machines need QEMU (qemu-system-x86 and qemu-utils), which is not installed here."
            ]
        if isinstance(self._found, str):
            return [f"Virtual machines cannot run here: {self._found}."]
        if self._found is not None and self._found.accelerator is Accelerator.TCG:
            why = f": {self._found.why}" if self._found.why else ""
            said.append(f"Virtual machines run in software here, many times slower than hardware{why}.")
        if not own_network:
            said.append("Virtual machines have no network here: it would be the whole machine's.")
        return said

    # -- images ----------------------------------------------------------------------------------------------------

    async def install(self, runtime: VmRuntime) -> AsyncIterator[EnvironmentProgress]:
        """Make a version's image ready; at once when it is."""
        yield EnvironmentProgress(ready=False, fraction=0.0, text=f"Looking at the disk {runtime.disk}")
        try:
            installed = await asyncio.to_thread(self.images.install, runtime.disk)
        except (ImageError, OSError) as error:
            yield EnvironmentProgress(ready=False, failed=True, fraction=0, text=str(error))
            return
        yield EnvironmentProgress(ready=True, fraction=1.0, text=installed.image.title)
        await asyncio.to_thread(self._clean, runtime.disk)

    def _clean(self, name: str) -> None:
        self.images.clean(name, keep=self.disks.digests())

    # -- machines --------------------------------------------------------------------------------------------------

    def place(self, job: LabJob) -> VmPlace:
        """Return with what a job's machine runs, its disk made; blocks for some hundredths of a second.

        Raises `SubmitRefusedError`.
        """
        self._tried.wait()
        if self._tools is None or job.vm is None:
            raise SubmitRefusedError("This machine runs no virtual machines.")
        if self._found is None or isinstance(self._found, str):
            raise SubmitRefusedError(f"Virtual machines cannot run here: {self._found}.")
        try:
            guest_memory_mib(job.memory_mib, self._found.accelerator, job.cores)
        except TooSmallError as error:
            raise SubmitRefusedError(str(error)) from None
        known = self.disks.get(job.lab_id)
        installed = self.images.installed(job.vm.disk, known.digest if known else None)
        if installed is None:
            what = "The image that this lab's disk was made on" if known else f"The disk {job.vm.disk}"
            raise SubmitRefusedError(f"{what} is not on this machine.", reason=Reason.IMAGE_UNAVAILABLE)
        uid = job.uid if os.geteuid() == 0 else os.geteuid()
        try:
            disk = self.disks.make(job.lab_id, installed, disk_mib=job.disk_mib, uid=uid)
        except (DiskError, OSError) as error:
            raise SubmitRefusedError(str(error), reason=Reason.VOLUME_UNAVAILABLE) from error
        kvm = self._found.accelerator is Accelerator.KVM
        return VmPlace(
            installed=installed,
            disk=disk,
            accelerator=self._found.accelerator,
            cpu=self._found.cpu,
            groups=(probe.KVM.stat().st_gid,) if kvm else (),
            devices=(probe.KVM.name,) if kvm else (),
        )

    def sweep(self, *, living: Collection[str]) -> None:
        """Discard the disks that were kept long enough."""
        gone = self.disks.sweep(seconds=self._settings.vm_disk_keep_hours * _HOUR, but=living)
        for lab_id in gone:
            structlog.get_logger(__name__).info("vm.disk_discarded", lab=lab_id)


def busy(folder: Path, *, now: float) -> bool | None:
    """Return whether the guest of an attempt says that it works; None when it has not said anything lately."""
    try:
        said = (folder / "busy").stat().st_mtime, int((folder / "busy").read_text() or "0")
    except (OSError, ValueError):
        return None
    return said[1] >= BUSY_THOUSANDTHS if now - said[0] <= SIGN_SECONDS else None
