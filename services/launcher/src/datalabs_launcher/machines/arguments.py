"""QEMU's arguments for a lab: pure, so that what runs can be read in a test.

`devices` is what every adapter adds to a machine; `hardware` is the machine itself, for an adapter that starts QEMU with
its own hands (Nomad's driver brings that part). Nothing secret stands here: arguments are in the process list.
"""

import math
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePath

PROGRAM = "/usr/bin/qemu-system-x86_64"
SEED = "opt/org.datalabs/seed"
"""The name under which the guest finds its seed in QEMU's firmware configuration."""
PORT = "org.datalabs.lab"
"""The name of the serial port by which the guest says that it is ready."""
MOST_SHARES = 20
"""The emulated PCI bus has 32 places, some of them taken."""
TRANSLATED_MIB = 192
"""How much translated code software emulation keeps; QEMU's own default is up to 1 GiB, outside the guest's memory."""
_FIXED_MIB, _PER_CORE_MIB = 112, 8
"""QEMU's own needs: screen, buffers of disk, files and network, stacks. Seen with a full guest: 60 MiB."""
SMALLEST_GUEST_MIB = 64
FEWEST_PROCESSORS = 2
_NAMESPACE = uuid.UUID("8f0d7c4e-3a51-5b0e-9a55-6f6cf2d3a1b7")


class Accelerator(StrEnum):
    """What runs the guest's instructions."""

    KVM = "kvm"
    TCG = "tcg"


CPU = {Accelerator.KVM: "host", Accelerator.TCG: "Nehalem"}
"""Software emulation with newer instructions is slower, not faster: libraries choose vectors that it takes apart."""


class TooSmallError(ValueError):
    """The size has not enough memory for a virtual machine."""


@dataclass(frozen=True, kw_only=True)
class Share:
    """A folder that the guest mounts by 9p. `source` is the path as QEMU sees it."""

    tag: str
    source: str
    target: str
    read_only: bool


@dataclass(frozen=True, kw_only=True)
class Screen:
    """Where the screen is served as a WebSocket, and the socket that QEMU wants beside it.

    `button`: whoever has the screen can press the power button, too.
    """

    address: str
    port: int | str
    socket: str
    button: bool = False
    width: int = 1280
    height: int = 800


@dataclass(frozen=True, kw_only=True)
class Boot:
    """The kernel that QEMU starts itself, its first file system, and what it is told."""

    kernel: str
    first_files: str
    command_line: str


@dataclass(frozen=True, kw_only=True)
class Devices:
    """What a lab's machine has, whoever starts it.

    `said` is where its words go, as the text of a QEMU character device without its id. `network` is None for a machine
    that may reach nothing.
    """

    lab_id: str
    screen: Screen
    boot: Boot | None
    shares: Sequence[Share]
    seed: str
    said: str
    network: bool


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """The machine itself. Memory in MiB, the lab's whole; `control` and `monitor` are QMP's character devices."""

    lab_id: str
    accelerator: Accelerator
    cpu: str
    cores: float
    memory_mib: int
    disk: str
    base: str
    control: str
    monitor: str


def overhead_mib(accelerator: Accelerator, cores: float) -> int:
    """Return what QEMU needs beside its guest's memory."""
    translated = TRANSLATED_MIB if accelerator is Accelerator.TCG else 0
    return _FIXED_MIB + translated + _PER_CORE_MIB * processors(cores)


def guest_memory_mib(memory_mib: int, accelerator: Accelerator, cores: float) -> int:
    """Return what is left for the guest of a lab's memory.

    Raises `TooSmallError`.
    """
    left = memory_mib - overhead_mib(accelerator, cores)
    if left < SMALLEST_GUEST_MIB:
        needed = SMALLEST_GUEST_MIB + overhead_mib(accelerator, cores)
        raise TooSmallError(f"a virtual machine of this size needs at least {needed} MiB of memory")
    return left


def processors(cores: float) -> int:
    """Return how many processors the guest sees; cores are shares, and a desktop on one processor stutters."""
    return max(FEWEST_PROCESSORS, math.ceil(cores))


def machine_id(lab_id: str) -> str:
    """Return the guest's machine-id: the same for all attempts of a lab, another for each lab."""
    return uuid.uuid5(_NAMESPACE, lab_id).hex


def hardware(machine: Hardware) -> list[str]:
    """Return the arguments of the machine itself.

    Raises `TooSmallError`.
    """
    memory = guest_memory_mib(machine.memory_mib, machine.accelerator, machine.cores)
    accelerator = str(machine.accelerator)
    if machine.accelerator is Accelerator.TCG:
        accelerator += f",thread=multi,tb-size={TRANSLATED_MIB}"
    base = f"driver=file,node-name=base-file,read-only=on,filename={escaped(machine.base)}"
    disk = f"driver=file,node-name=disk-file,discard=unmap,filename={escaped(machine.disk)}"
    return [
        *("-name", f"lab-{machine.lab_id}"),
        *("-nodefaults", "-no-user-config", "-display", "none"),
        *("-machine", "pc,usb=off,vmport=off,dump-guest-core=off"),
        *("-accel", accelerator),
        *("-cpu", machine.cpu),
        *("-smp", f"{processors(machine.cores)},sockets=1,threads=1"),
        *("-m", f"{memory}M"),
        *("-uuid", str(uuid.UUID(machine_id(machine.lab_id)))),
        *("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"),
        *("-chardev", f"{machine.control},id=control", "-mon", "chardev=control,mode=control"),
        *("-chardev", f"{machine.monitor},id=monitor", "-mon", "chardev=monitor,mode=control"),
        *("-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"),
        *("-device", "pvpanic", "-action", "panic=exit-failure"),
        *("-blockdev", base, "-blockdev", "driver=qcow2,node-name=base,read-only=on,file=base-file"),
        *("-blockdev", disk),
        *("-blockdev", "driver=qcow2,node-name=disk,discard=unmap,file=disk-file,backing=base"),
        *("-device", "virtio-blk-pci,drive=disk,werror=enospc"),
    ]


def devices(wanted: Devices) -> list[str]:
    """Return the arguments of all that a lab's machine has beside processors, memory and disk.

    Raises `ValueError` when there are more shares than places.
    """
    if len(wanted.shares) > MOST_SHARES:
        raise ValueError(f"a virtual machine can mount at most {MOST_SHARES} folders")
    screen = wanted.screen
    served = f"unix:{escaped(screen.socket)},websocket={screen.address}:{screen.port},share=ignore"
    arguments = [
        *("-vnc", f"{served},power-control=on" if screen.button else served),
        *("-device", f"virtio-vga,xres={screen.width},yres={screen.height}"),
        *("-device", "virtio-keyboard-pci", "-device", "virtio-tablet-pci"),
        *("-object", "rng-builtin,id=random", "-device", "virtio-rng-pci,rng=random"),
        *("-device", "virtio-serial-pci"),
        *("-chardev", f"{wanted.said},id=said", "-device", f"virtserialport,chardev=said,name={PORT}"),
        *("-chardev", "qemu-vdagent,id=clipboard,clipboard=on"),
        *("-device", "virtserialport,chardev=clipboard,name=com.redhat.spice.0"),
        *("-fw_cfg", f"name={SEED},file={escaped(wanted.seed)}"),
    ]
    if wanted.network:
        arguments += ["-netdev", "user,id=net,ipv6=off", "-device", "virtio-net-pci,netdev=net"]
    for number, share in enumerate(wanted.shares):
        mode = ",readonly=on" if share.read_only else ""
        path = escaped(share.source)
        arguments += [
            *("-fsdev", f"local,id=fs{number},path={path},security_model=none,multidevs=remap{mode}"),
            *("-device", f"virtio-9p-pci,fsdev=fs{number},mount_tag={share.tag}"),
        ]
    if wanted.boot is not None:
        arguments += [
            *("-kernel", wanted.boot.kernel, "-initrd", wanted.boot.first_files),
            *("-append", f"{wanted.boot.command_line} systemd.machine_id={machine_id(wanted.lab_id)}"),
        ]
    return arguments


def escaped(path: str | PurePath) -> str:
    """Return a path as it stands within an option: QEMU parts options at commas."""
    return str(path).replace(",", ",,")
