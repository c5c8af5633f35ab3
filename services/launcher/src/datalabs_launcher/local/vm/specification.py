"""From a lab's job to the machine that its shim starts: pure, so that what runs can be read in a test.

QEMU sees what a process lab would see, and beside it three folders: `/vm` with its sockets and the seed, `/vm-disk` with
the lab's own disk, `/vm-image` with what the disk grows on. Where labs have no view of their own it uses the real paths.
"""

from typing import Any

from datalabs_launcher.commands import Fields, fill_environment
from datalabs_launcher.local.specification import DATA, HOME, SCRATCH, SYSTEM_PATH, Frame, Place, frame_of
from datalabs_launcher.local.vm.guest import CONTROL_FD, SAID_FD
from datalabs_launcher.local.vm.host import VmPlace
from datalabs_launcher.machines import image
from datalabs_launcher.machines.arguments import (
    PROGRAM,
    Boot,
    Devices,
    Hardware,
    Screen,
    devices,
    hardware,
)
from datalabs_launcher.machines.seed import Seed, shares_of
from datalabs_launcher.scheduler import LabJob

OWN = "vm"
"""The folder of an attempt that QEMU may write."""
SEED = "seed"
MONITOR = "qmp.sock"
"""Below `OWN`: for operators; the shim has a way of its own."""
_ADDRESS, _SOCKET = "127.0.0.1", "vnc.sock"


def spec_of(job: LabJob, place: Place, machine: VmPlace) -> dict[str, Any]:
    """Return the specification of an attempt.

    Raises `ValueError` for a job that cannot be a machine.
    """
    private = place.private
    own = f"/{OWN}" if private else str(place.folder / OWN)
    disk = "/vm-disk" if private else str(machine.disk.folder)
    base = "/vm-image" if private else str(machine.installed.folder)
    sources = {mount.target: mount.target for mount in job.mounts} if private else None
    arguments = hardware(
        Hardware(
            lab_id=job.lab_id,
            accelerator=machine.accelerator,
            cpu=machine.cpu,
            cores=job.cores,
            memory_mib=job.memory_mib,
            disk=f"{disk}/{image.DISK}",
            base=f"{base}/{image.DISK}",
            control=f"socket,fd={CONTROL_FD}",
            monitor=f"socket,path={MONITOR},server=on,wait=off",
        )
    )
    arguments += devices(
        Devices(
            lab_id=job.lab_id,
            screen=Screen(address=place.address, port=job.port, socket=_SOCKET),
            boot=Boot(
                kernel=f"{base}/{image.KERNEL}",
                first_files=f"{base}/{image.FIRST_FILES}",
                command_line=machine.installed.image.kernel_command_line,
            ),
            shares=shares_of(job.mounts, sources=sources),
            seed=SEED,
            said=f"socket,fd={SAID_FD}",
            network=place.network is not None,
        )
    )
    binds = [[mount.source, mount.target, "ro" if mount.read_only else "rw"] for mount in job.mounts]
    if private:
        binds += [
            [str(place.folder / OWN), own, "rw"],
            [str(machine.disk.folder), disk, "rw"],
            [str(machine.installed.folder), base, "ro"],
        ]
    frame = Frame(
        argv=[PROGRAM, *arguments],
        environment={"PATH": SYSTEM_PATH, "LANG": "C.UTF-8", "HOME": own},
        cwd=own,
        binds=binds,
        packages={},
        software=str(machine.installed.folder),
    )
    spec = frame_of(job, place, frame)
    spec["guest"] = True
    spec["groups"] = list(machine.groups)
    spec["devices"] = list(machine.devices)
    spec["about"] |= {"machine": True, "says_ready": machine.installed.image.says_ready}
    return spec


def seed_of(job: LabJob, place: Place) -> str:
    """Return what the guest is told.

    Raises `ValueError` for what cannot be said.
    """
    assert job.vm is not None
    fields = Fields(
        port=job.port,
        address=_ADDRESS,
        lab_id=job.lab_id,
        home=HOME,
        scratch=SCRATCH,
        data=DATA,
        source="",
        origin=job.origin,
        parameters=job.parameters,
    )
    environment = {
        "DATALABS_USER": job.owner,
        "DATALABS_ROOT": "",
        **{name: value for name, value in place.passed.items() if name.lower().endswith("_proxy")},
        **fill_environment(job.vm.environment, fields),
        **job.environment,
        **job.secret_environment,
    }
    return Seed(
        user=job.owner,
        uid=place.uid,
        hostname=job.lab_id,
        shares=shares_of(job.mounts),
        environment=environment,
    ).text()
