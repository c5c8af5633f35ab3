"""What surrounds a machine: its words, its disks, its images; without running one."""

import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from datalabs_launcher.local.config import VmAccelerator
from datalabs_launcher.local.vm import host, probe
from datalabs_launcher.local.vm.disks import Disks
from datalabs_launcher.local.vm.guest import CONTROL_FD, SAID_FD, Guest
from datalabs_launcher.machines.arguments import Accelerator


@pytest.fixture
def guest(tmp_path: Path) -> Any:
    made = Guest(str(tmp_path))
    yield made
    for side in (made._control, made._said, *made._ends.values()):
        side.close()


def emulator(guest: Any, number: int) -> socket.socket:
    """Return QEMU's side of a pair."""
    return guest._ends[number]


def says(guest: Any, number: int, data: bytes) -> dict[str, Any]:
    emulator(guest, number).send(data)
    fd = guest.descriptors()[[CONTROL_FD, SAID_FD].index(number)]
    goes_on, news = guest.heard(fd)
    assert goes_on
    return news


def test_the_guest_says_that_it_is_ready_in_one_piece_or_two(guest: Any) -> None:
    assert says(guest, SAID_FD, b"rea") == {}
    assert says(guest, SAID_FD, b"dy\nbusy 2") == {"ready": pytest.approx(time.time(), abs=5)}


def test_how_busy_the_guest_is_stands_in_a_file(guest: Any, tmp_path: Path) -> None:
    assert says(guest, SAID_FD, b"busy 700\n") == {}
    says(guest, SAID_FD, b"busy 1\n")  # too soon: a guest cannot keep the disk busy
    assert (tmp_path / "busy").read_text() == "700"
    now = time.time()
    assert host.busy(tmp_path, now=now) is True
    assert host.busy(tmp_path, now=now + 2 * host.SIGN_SECONDS) is None
    (tmp_path / "busy").write_text("3")
    assert host.busy(tmp_path, now=now) is False
    (tmp_path / "busy").unlink()
    assert host.busy(tmp_path, now=now) is None


@pytest.mark.parametrize(
    "noise", [b"x" * 4000, b"\xff\xfe\n\n", b"ready?\nbusy -1\nbusy \nbusy x\n", b"\x00" * 300]
)
def test_what_else_a_guest_says_is_nothing(guest: Any, tmp_path: Path, noise: bytes) -> None:
    assert says(guest, SAID_FD, noise) == {}
    assert says(guest, SAID_FD, noise) == {}
    assert not (tmp_path / "busy").exists()


def test_the_emulator_is_asked_and_its_events_are_understood(guest: Any) -> None:
    guest.power_down()
    said = emulator(guest, CONTROL_FD).recv(4096)
    assert said == b'{"execute": "qmp_capabilities"}\n{"execute": "system_powerdown"}\n'
    assert says(guest, CONTROL_FD, b'{"QMP": {}}\r\n{"event": "POWERDOWN"}\r\nnot json\r\n[1]\r\n') == {}
    assert (guest.full, guest.error) == ([], "")
    says(guest, CONTROL_FD, b'{"event": "BLOCK_IO_ERROR", "data": {"nospace": true}}\r\n')
    says(guest, CONTROL_FD, b'{"event": "GUEST_PANICKED", "data": {}}\r\n')
    assert guest.full == ["the machine's disk"]
    assert "panicked" in guest.error
    event = b'{"event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-shutdown"}}\r\n'
    assert says(guest, CONTROL_FD, event) == {"shutdown": "guest-shutdown"}


def test_an_emulator_that_is_gone_is_heard(guest: Any) -> None:
    guest.started()
    assert [guest.heard(fd) for fd in guest.descriptors()] == [(False, {}), (False, {})]
    guest.power_down()


def test_disks_nobody_came_back_for_go_in_time(tmp_path: Path) -> None:
    disks = Disks(tmp_path, qemu_img=Path("qemu-img"))
    for name in ("old", "new", "used", "living"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "disk.qcow2").touch()
    long_ago = time.time() - 1000
    for path in (
        *(tmp_path / name for name in ("old", "used", "living")),
        *(tmp_path / name / "disk.qcow2" for name in ("old", "living")),
    ):
        os.utime(path, (long_ago, long_ago))
    assert disks.sweep(seconds=500, but={"living"}) == ["old"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["living", "new", "used"]
    disks.discard("../x")
    disks.discard("never there")


def test_without_hardware_software_does_it_and_says_why(tmp_path: Path) -> None:
    nothing = tmp_path / "kvm"
    found = probe.find(VmAccelerator.AUTO, device=nothing)
    assert isinstance(found, probe.Found)
    assert (found.accelerator, "no hardware support" in found.why) == (Accelerator.TCG, True)
    assert "no hardware support" in str(probe.find(VmAccelerator.KVM, device=nothing))
    asked = probe.find(VmAccelerator.TCG, "max")
    assert asked == probe.Found(accelerator=Accelerator.TCG, cpu="max")
