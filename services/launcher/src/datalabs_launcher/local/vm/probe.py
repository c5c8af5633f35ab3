"""What can run virtual machines here, found out by running one for a moment.

A device file that opens proves nothing: on machines that are virtual themselves KVM may refuse QEMU's processor, or take it
and then stand still or crawl. So a boot sector of ours runs: it waits for three ticks of the clock, goes into protected mode,
then leaves by a port that ends QEMU with a code that nothing else gives. KVM counts only when that is about as quick as
in software: on one machine it took 0.3 s in software, 3 s under KVM, and Linux crawled alike.
"""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from datalabs_launcher.local.config import VmAccelerator
from datalabs_launcher.machines.arguments import CPU, PROGRAM, Accelerator

SECONDS = 10.0
_SLOWEST, _SLOWEST_SECONDS = 2.0, 1.0
"""KVM may take so many times what software takes, or so long; the trial waits 0.17 s for the clock in any case."""
_ANSWER = 0x2A
_EXIT = (_ANSWER << 1) | 1
_SECTOR = 512
_KVM_CPUS = ("host", "host,-arch-capabilities", "qemu64")
"""`host` aborts where the machine below hides some registers; the others are asked then."""
KVM = Path("/dev/kvm")


@dataclass(frozen=True, kw_only=True)
class Found:
    """How machines run here; `why` says in plain words why not faster, if so."""

    accelerator: Accelerator
    cpu: str
    why: str = ""


def tools() -> tuple[Path, Path] | None:
    """Return QEMU and qemu-img; None when they are not both installed."""
    image_tool = shutil.which("qemu-img")
    return (Path(PROGRAM), Path(image_tool)) if image_tool and Path(PROGRAM).exists() else None


def find(wanted: VmAccelerator, cpu: str | None = None, *, device: Path = KVM) -> Found | str:
    """Return how machines run here, or why they do not."""
    slow = Found(accelerator=Accelerator.TCG, cpu=cpu or CPU[Accelerator.TCG])
    if wanted is VmAccelerator.TCG:
        return slow
    if not device.exists():
        why = "this machine has no hardware support for virtual machines (no /dev/kvm)"
    else:
        soft = runs(["-accel", "tcg"])
        longest = max(_SLOWEST_SECONDS, _SLOWEST * (soft or 0.0))
        for model in [cpu] if cpu else _KVM_CPUS:
            if runs(["-accel", "kvm", "-cpu", model], seconds=longest) is not None:
                return Found(accelerator=Accelerator.KVM, cpu=model)
        why = "a trial under KVM did not run in time on this machine"
    if wanted is VmAccelerator.KVM:
        return why
    return Found(accelerator=slow.accelerator, cpu=slow.cpu, why=why)


def runs(arguments: Sequence[str], *, seconds: float = SECONDS) -> float | None:
    """Return how long a machine with these arguments takes for our boot sector; None when it does not get through."""
    with tempfile.NamedTemporaryFile(prefix="datalabs-probe-") as disk:
        disk.write(sector())
        disk.flush()
        command = [
            *(PROGRAM, "-nodefaults", "-no-user-config", "-display", "none", "-machine", "pc", "-m", "16"),
            *("-drive", f"file={disk.name},format=raw,if=ide,readonly=off,snapshot=on"),
            *("-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-sandbox", "on", *arguments),
        ]
        began = time.monotonic()
        try:
            done = subprocess.run(
                command,
                check=False,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=seconds,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return time.monotonic() - began if done.returncode == _EXIT else None


def sector() -> bytes:
    """Return the boot sector: three clock ticks by interrupt, then protected mode, then the answer."""
    code = bytes(
        [
            *(0xFA, 0x31, 0xC0, 0x8E, 0xD8, 0x8E, 0xD0, 0xBC, 0x00, 0x7C),  # cli; ds = ss = 0; sp = 0x7c00
            0xFB,  # sti
            *(0x66, 0xA1, 0x6C, 0x04),  # eax = ticks, kept by the BIOS at 0x46c
            *(0x66, 0x83, 0xC0, 0x03),  # three more
            *(0x66, 0x3B, 0x06, 0x6C, 0x04),  # reached?
            *(0x77, 0xF9),  # above: look again
            0xFA,  # cli
            *(0x0F, 0x01, 0x16, 0x80, 0x7C),  # lgdt [0x7c80]
            *(0x0F, 0x20, 0xC0, 0x0C, 0x01, 0x0F, 0x22, 0xC0),  # cr0 |= 1
            *(0xEA, 0x30, 0x7C, 0x08, 0x00),  # jump to 0x08:0x7c30
        ]
    )
    protected = bytes(
        [
            *(0xB0, _ANSWER, 0xE6, 0xF4),  # al = answer; out 0xf4, al
            *(0xF4, 0xEB, 0xFD),  # hlt for ever
        ]
    )
    table = bytes(8) + bytes.fromhex("ffff0000009acf00") + bytes.fromhex("ffff00000092cf00")
    pointer = (len(table) - 1).to_bytes(2, "little") + (0x7C90).to_bytes(4, "little")
    whole = bytearray(_SECTOR)
    for at, part in ((0, code), (0x30, protected), (0x80, pointer), (0x90, table)):
        whole[at : at + len(part)] = part
    whole[510:] = b"\x55\xaa"
    return bytes(whole)
