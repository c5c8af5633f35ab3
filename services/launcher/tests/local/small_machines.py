"""Images of machines that start in a tenth of a second: kernels of some dozen bytes, each with one habit.

A kernel here is the oldest form of a Linux kernel that QEMU starts: a sector that nobody runs, then code in real mode. It
greets on the serial line; what it does then makes the difference.
"""

import hashlib
import json
import subprocess
from pathlib import Path

from datalabs_launcher.machines import image

HELLO = b"the machine is here\r\n"
_SECTOR, _CODE, _TEXT, _TABLE = 512, 0x268, 0x380, 0x3C0
_LINEAR = 0x90000
"""Where QEMU puts a kernel of that form."""

_POWER_OFF = bytes.fromhex("ba0406b80020ef")  # out 0x604, 0x2000: the chipset's soft off
_SLEEP = bytes.fromhex("fbf4ebfc")  # sti, hlt, for ever
_WAIT_FOR_BUTTON = bytes.fromhex(
    "fbf4ba0006edf6c40174f5"
)  # sti, hlt until the power button's bit is in 0x600


def _greet() -> bytes:
    """Mask the second interrupt controller, let the power button be felt, then write the greeting to the serial line."""
    return (
        bytes.fromhex("b0ffe6a1ba0206b80001ef0e1fbe")
        + (_TEXT - _SECTOR).to_bytes(2, "little")
        + bytes.fromhex("ac84c07406baf803eeebf5")
    )


def _fill(mib: int) -> bytes:
    """Go into protected mode, write all memory from the first MiB on, say F, sleep."""
    table = (_TABLE - _SECTOR).to_bytes(2, "little")
    real = bytes.fromhex("fa0f0116") + table + bytes.fromhex("0f20c00c010f22c066ea")
    at = _LINEAR + _CODE + len(_greet()) + len(real) + 6
    protected = (
        bytes.fromhex("66b810008ec0fc")
        + b"\xbf"
        + (2**20).to_bytes(4, "little")
        + b"\xb9"
        + ((mib - 1) * 2**18).to_bytes(4, "little")
        + bytes.fromhex("b8a5a5a5a5f3ab66baf803b046eeb00aeef4ebfd")
    )
    return real + at.to_bytes(4, "little") + bytes.fromhex("0800") + protected


def kernel(habit: bytes) -> bytes:
    """Return a kernel that greets and then follows its habit."""
    whole = bytearray(5 * _SECTOR + 16)
    whole[0x1F1] = 4
    whole[0x1FE:0x200] = b"\x55\xaa"
    whole[0x200:0x202] = b"\xeb" + bytes([_CODE - 0x202])
    whole[0x202:0x208] = b"HdrS\x00\x02"
    code = _greet() + habit
    assert _CODE + len(code) <= _TEXT
    whole[_CODE : _CODE + len(code)] = code
    whole[_TEXT : _TEXT + len(HELLO)] = HELLO
    entries = bytes(8) + bytes.fromhex("ffff0000009acf00ffff00000092cf00")
    whole[_TABLE : _TABLE + 6] = (len(entries) - 1).to_bytes(2, "little") + (_LINEAR + _TABLE + 8).to_bytes(
        4, "little"
    )
    whole[_TABLE + 8 : _TABLE + 8 + len(entries)] = entries
    return bytes(whole)


POLITE = kernel(_WAIT_FOR_BUTTON + _POWER_OFF + _SLEEP)
DEAF = kernel(_SLEEP)
LEAVES = kernel(_POWER_OFF + _SLEEP)
PANICS = kernel(bytes.fromhex("ba0505b001ee") + _SLEEP)


def hungry(mib: int) -> bytes:
    """Return a kernel that writes so many MiB."""
    return kernel(_fill(mib))


def make(folder: Path, name: str, program: bytes, *, says_ready: bool = False) -> Path:
    """Make an image with an empty disk of 8 MiB."""
    made = folder / name
    made.mkdir(parents=True)
    disk = made / image.DISK
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", disk, "8M"], check=True)
    (made / image.KERNEL).write_bytes(program)
    (made / image.FIRST_FILES).write_bytes(b"nothing")
    digest = hashlib.sha256()
    for part in (image.DISK, image.KERNEL, image.FIRST_FILES):
        digest.update((made / part).read_bytes())
    about = {"name": name, "digest": digest.hexdigest(), "disk_mib": 8, "says_ready": says_ready}
    (made / image.ABOUT).write_text(json.dumps(about))
    return made
