"""The tasks of a virtual machine, for Nomad's qemu driver: what runs in it is `machines/`, as on any scheduler.

The driver starts QEMU as the agent's own user, so QEMU itself drops to the person's uid once its files are open; folders
are shared under that uid. Where the operator allows programs outside containers, a disk of the lab's own is laid over the
image first; elsewhere what the machine writes goes with it.
"""

from dataclasses import dataclass
from typing import Any

from datalabs_launcher.commands import Fields, fill_environment
from datalabs_launcher.machines import arguments, image, seed
from datalabs_launcher.machines.arguments import Accelerator, Boot, Devices, Screen
from datalabs_launcher.nomad.config import NomadSettings
from datalabs_launcher.nomad.tasks import MAIN, Task, nanoseconds, resources_of, variable_path
from datalabs_launcher.placement import DATA, HOME, SCRATCH
from datalabs_launcher.scheduler import LabJob

OVERLAY = "${NOMAD_ALLOC_DIR}/disk.qcow2"
SEED_FILE = "secrets/seed"
SEED_ITEM = "seed"
SAID = "/dev/stderr"
"""What the guest says of itself goes where QEMU complains, which Nomad collects apart from the machine's console: the only
way to hear it from another machine with the rights that a launcher has."""
LAY_TIMEOUT = 10.0
LAY_MEMORY_MIB = 64


@dataclass(frozen=True, kw_only=True)
class Disk:
    """An image on the nodes: its folder there, and what it says of itself."""

    folder: str
    about: image.Image


def tasks_of(job: LabJob, settings: NomadSettings, disk: Disk | None) -> list[Task]:
    """Return the machine, and what lays its disk.

    Raises `ValueError` when the job or the site has no image for it, or the size is too small.
    """
    if job.vm is None or disk is None:
        raise ValueError("a virtual machine without an image")
    own_disk = settings.nomad_allow_raw_exec
    base = f"{disk.folder}/{image.DISK}"
    machine: Task = {
        "Name": MAIN,
        "Driver": "qemu",
        "Leader": True,
        "Config": {
            "image_path": OVERLAY if own_disk else base,
            "accelerator": "tcg",
            "drive_interface": "virtio",
            "graceful_shutdown": True,
            "args": [*_arguments(job, settings, disk), *([] if own_disk else ["-snapshot"])],
        },
        "Env": {},
        "Resources": resources_of(job, settings),
        "KillTimeout": nanoseconds(job.stop_seconds),
        "Templates": [
            {
                "EmbeddedTmpl": f'{{{{ with nomadVar "{variable_path(job.job_id)}" }}}}{{{{ .{SEED_ITEM} }}}}{{{{ end }}}}',
                "DestPath": SEED_FILE,
                "ChangeMode": "noop",
                "Perms": "0400",
            }
        ],
    }
    return [_lay(base, job, disk, settings), machine] if own_disk else [machine]


def seed_of(job: LabJob) -> str:
    """Return all that the machine is told, secrets included.

    Raises `ValueError` for what cannot be said.
    """
    assert job.vm is not None
    fields = Fields(
        port=job.port,
        address="0.0.0.0",  # noqa: S104 - inside the machine
        lab_id=job.lab_id,
        home=HOME,
        scratch=SCRATCH,
        data=DATA,
        source=job.source,
        origin=job.origin,
        parameters=job.parameters,
    )
    own = {"DATALABS_LAB_SECRET": job.lab_secret} if job.lab_secret else {}
    return seed.Seed(
        user=job.owner,
        uid=job.uid,
        hostname=job.lab_id,
        shares=seed.shares_of(job.mounts),
        environment={
            "DATALABS_USER": job.owner,
            **fill_environment(job.vm.environment, fields),
            **job.environment,
            **own,
            **job.secret_environment,
        },
    ).text()


def _arguments(job: LabJob, settings: NomadSettings, disk: Disk) -> list[str]:
    """Return what is added to the driver's own arguments; of a repeated option QEMU takes the last."""
    accelerator = Accelerator(settings.nomad_vm_accelerator)
    memory = arguments.guest_memory_mib(job.memory_mib, accelerator, job.cores)
    wanted = Devices(
        lab_id=job.lab_id,
        screen=Screen(address="${NOMAD_IP_lab}", port="${NOMAD_PORT_lab}", socket="vnc.sock", button=True),
        boot=Boot(
            kernel=f"{disk.folder}/{image.KERNEL}",
            first_files=f"{disk.folder}/{image.FIRST_FILES}",
            command_line=disk.about.kernel_command_line,
        ),
        shares=seed.shares_of(job.mounts),
        seed="${NOMAD_SECRETS_DIR}/seed",
        said=f"file,path={SAID}",
        network=False,
    )
    restricted = "" if settings.nomad_vm_network else ",restrict=on"
    return [
        *(["-enable-kvm"] if accelerator is Accelerator.KVM else []),
        *("-cpu", settings.nomad_vm_cpu or arguments.CPU[accelerator]),
        *("-smp", f"{arguments.processors(job.cores)},sockets=1,threads=1"),
        *("-m", f"{memory}M"),
        *("-runas", f"{job.uid}:{job.uid}"),
        *("-vga", "none"),
        *("-netdev", f"user,id=net,ipv6=off{restricted}", "-device", "virtio-net-pci,netdev=net,romfile="),
        *arguments.devices(wanted),
    ]


def _lay(base: str, job: LabJob, disk: Disk, settings: NomadSettings) -> Task:
    """Return the task that lays the lab's own disk over the image, before the machine starts."""
    size = f"{max(job.disk_mib, disk.about.disk_mib)}M"
    config: dict[str, Any] = {
        "command": "/usr/bin/qemu-img",
        "args": ["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", base, OVERLAY, size],
    }
    return {
        "Name": "disk",
        "Driver": "raw_exec",
        "Lifecycle": {"Hook": "prestart", "Sidecar": False},
        "Config": config,
        "Env": {},
        "Resources": {"CPU": max(1, settings.nomad_core_mhz // 10), "MemoryMB": LAY_MEMORY_MIB},
        "KillTimeout": nanoseconds(LAY_TIMEOUT),
    }
