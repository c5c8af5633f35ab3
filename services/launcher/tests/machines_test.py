"""What a machine is made of: QEMU's arguments and the seed, as they are handed over."""

import itertools
from typing import Any

import pytest

from datalabs_contracts.volumes import Mount
from datalabs_launcher.machines.arguments import (
    MOST_SHARES,
    Accelerator,
    Boot,
    Devices,
    Hardware,
    Screen,
    Share,
    TooSmallError,
    devices,
    guest_memory_mib,
    hardware,
    machine_id,
    overhead_mib,
    processors,
)
from datalabs_launcher.machines.seed import Seed, shares_of

MOUNTS = (
    Mount(source="/srv/volumes/home/ada", target="/media/home", read_only=False),
    Mount(source="/srv/collections/iers", target="/data/iers", read_only=True),
)


def made(**changes: Any) -> Hardware:
    values: dict[str, Any] = {
        "lab_id": "abc",
        "accelerator": Accelerator.TCG,
        "cpu": "Nehalem",
        "cores": 1,
        "memory_mib": 2048,
        "disk": "/vm-disk/disk.qcow2",
        "base": "/vm-image/disk.qcow2",
        "control": "socket,fd=200",
        "monitor": "socket,path=qmp.sock,server=on,wait=off",
    }
    return Hardware(**{**values, **changes})


def around(**changes: Any) -> Devices:
    values: dict[str, Any] = {
        "lab_id": "abc",
        "screen": Screen(address="198.18.0.5", port=20_100, socket="vnc.sock"),
        "boot": Boot(
            kernel="/vm-image/vmlinuz", first_files="/vm-image/initrd", command_line="root=/dev/vda"
        ),
        "shares": shares_of(MOUNTS),
        "seed": "seed",
        "said": "socket,fd=201",
        "network": True,
    }
    return Devices(**{**values, **changes})


def values_of(arguments: list[str], name: str) -> list[str]:
    return [value for word, value in itertools.pairwise(arguments) if word == name]


def test_the_machine_itself() -> None:
    assert " ".join(hardware(made())) == (
        "-name lab-abc -nodefaults -no-user-config -display none -machine pc,usb=off,vmport=off,dump-guest-core=off"
        " -accel tcg,thread=multi,tb-size=192 -cpu Nehalem -smp 2,sockets=1,threads=1 -m 1728M"
        " -uuid a5e027b5-0236-5774-9f00-40e6c7ecd2ad"
        " -sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
        " -chardev socket,fd=200,id=control -mon chardev=control,mode=control"
        " -chardev socket,path=qmp.sock,server=on,wait=off,id=monitor -mon chardev=monitor,mode=control"
        " -chardev stdio,id=console,signal=off -serial chardev:console -device pvpanic -action panic=exit-failure"
        " -blockdev driver=file,node-name=base-file,read-only=on,filename=/vm-image/disk.qcow2"
        " -blockdev driver=qcow2,node-name=base,read-only=on,file=base-file"
        " -blockdev driver=file,node-name=disk-file,discard=unmap,filename=/vm-disk/disk.qcow2"
        " -blockdev driver=qcow2,node-name=disk,discard=unmap,file=disk-file,backing=base"
        " -device virtio-blk-pci,drive=disk,werror=enospc"
    )


def test_what_the_machine_has() -> None:
    assert " ".join(devices(around())) == (
        "-vnc unix:vnc.sock,websocket=198.18.0.5:20100,share=ignore -device virtio-vga,xres=1280,yres=800"
        " -device virtio-keyboard-pci -device virtio-tablet-pci"
        " -object rng-builtin,id=random -device virtio-rng-pci,rng=random -device virtio-serial-pci"
        " -chardev socket,fd=201,id=said -device virtserialport,chardev=said,name=org.datalabs.lab"
        " -chardev qemu-vdagent,id=clipboard,clipboard=on"
        " -device virtserialport,chardev=clipboard,name=com.redhat.spice.0"
        " -fw_cfg name=opt/org.datalabs/seed,file=seed"
        " -netdev user,id=net,ipv6=off -device virtio-net-pci,netdev=net"
        " -fsdev local,id=fs0,path=/srv/collections/iers,security_model=none,multidevs=remap,readonly=on"
        " -device virtio-9p-pci,fsdev=fs0,mount_tag=share0"
        " -fsdev local,id=fs1,path=/srv/volumes/home/ada,security_model=none,multidevs=remap"
        " -device virtio-9p-pci,fsdev=fs1,mount_tag=share1"
        " -kernel /vm-image/vmlinuz -initrd /vm-image/initrd"
        f" -append root=/dev/vda systemd.machine_id={machine_id('abc')}"
    )


def test_a_machine_without_a_network_has_no_card() -> None:
    assert not values_of(devices(around(network=False)), "-netdev")


def test_a_comma_in_a_path_stays_in_the_path() -> None:
    share = Share(tag="share0", source="/srv/a,readonly=off", target="/data/a", read_only=True)
    [fsdev] = values_of(devices(around(shares=[share])), "-fsdev")
    assert "path=/srv/a,,readonly=off," in fsdev


def test_more_folders_than_places_are_refused() -> None:
    share = Share(tag="share0", source="/srv", target="/data", read_only=True)
    with pytest.raises(ValueError, match="at most 20 folders"):
        devices(around(shares=[share] * (MOST_SHARES + 1)))


def test_the_lab_pays_for_its_emulator() -> None:
    assert guest_memory_mib(2048, Accelerator.TCG, 1) == 2048 - overhead_mib(Accelerator.TCG, 1)
    assert guest_memory_mib(2048, Accelerator.KVM, 1) > guest_memory_mib(2048, Accelerator.TCG, 1)
    with pytest.raises(TooSmallError, match="at least"):
        hardware(made(memory_mib=256))
    assert [processors(cores) for cores in (0.5, 1, 2, 2.5)] == [2, 2, 2, 3]


def test_each_lab_has_a_machine_id_of_its_own_that_stays() -> None:
    assert machine_id("abc") == machine_id("abc") != machine_id("abd")
    assert len(machine_id("abc")) == 32


def test_the_seed() -> None:
    seed = Seed(
        user="ada",
        uid=20_001,
        hostname="abc",
        shares=shares_of(MOUNTS, sources={"/media/home": "/somewhere/else"}),
        environment={"TOKEN": "a=b c$(d)", "DATALABS_LAB_ID": "abc"},
    )
    assert seed.text() == (
        "user ada\nuid 20001\nhostname abc\nhome /media/home\n"
        "mount share0 ro /data/iers\nmount share1 rw /media/home\n"
        "env DATALABS_LAB_ID=abc\nenv TOKEN=a=b c$(d)\n"
    )
    assert "a=b" not in repr(seed)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"user": "ada\nuid 0"}, "name of a user"),
        ({"user": "Ada Lovelace"}, "name of a user"),
        ({"environment": {"A": "1\nmount share0 rw /etc"}}, "line break"),
        ({"environment": {"A B": "1"}}, "name of a variable"),
    ],
)
def test_nothing_can_be_smuggled_into_the_seed(changes: dict[str, Any], words: str) -> None:
    values: dict[str, Any] = {"user": "ada", "uid": 1, "hostname": "abc", "shares": [], "environment": {}}
    with pytest.raises(ValueError, match=words):
        Seed(**{**values, **changes}).text()
