"""Machines by real QEMU, with kernels of some dozen bytes: seconds each."""

import asyncio
import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from datalabs_contracts.datalabs import EnvironmentSpecification, Kind, Runtime, Runtimes, VmRuntime
from datalabs_contracts.labs import Reason
from datalabs_contracts.volumes import Mount
from datalabs_launcher.local import cgroups, processes
from datalabs_launcher.local.vm import probe
from datalabs_launcher.machines import image
from datalabs_launcher.machines.arguments import Accelerator, guest_memory_mib
from datalabs_launcher.scheduler import JobState as S
from datalabs_launcher.scheduler import Keeper, LabJob, SubmitRefusedError

from . import small_machines

pytestmark = [
    pytest.mark.vm,
    pytest.mark.skipif(probe.tools() is None, reason="QEMU is not installed here: `make vm-tools` does it"),
]
UPGRADE = (
    "GET / HTTP/1.1\r\nHost: lab\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: binary\r\n\r\n"
)
MEMORY_MIB = 512


class Machines:
    """A bench whose jobs are machines."""

    def __init__(self, bench: Any, images: Path) -> None:
        self.bench = bench
        self.images = images
        self.scheduler = bench.scheduler
        self.state_folder: Path = bench.state_folder

    async def job(self, program: bytes, **changes: Any) -> LabJob:
        name = f"kernel{len(list(self.images.glob('*')))}" if self.images.exists() else "kernel0"
        small_machines.make(self.images, name, program)
        await self.ready(name)
        return self.job_on(name, **changes)

    def job_on(self, name: str, **changes: Any) -> LabJob:
        values = {
            "runtime": Runtime.VM,
            "process": None,
            "vm": VmRuntime(disk=name),
            "kind": Kind.DESKTOP,
            "memory_mib": MEMORY_MIB,
        }
        return dataclasses.replace(self.bench.job("true"), **{**values, **changes})

    async def ready(self, name: str) -> list[Any]:
        specification = EnvironmentSpecification(
            datalab="stub",
            version="1",
            runtimes=Runtimes(order=[Runtime.VM], vm=VmRuntime(disk=name)),
            source="",
        )
        return [one async for one in self.scheduler.prepare(specification, Runtime.VM)]

    async def running(self, program: bytes, **changes: Any) -> LabJob:
        job = await self.job(program, **changes)
        await self.scheduler.submit(job)
        seen = await self.bench.until(job.job_id, S.RUNNING, S.ENDED)
        assert seen.state is S.RUNNING, seen.end
        await self.wrote(job, small_machines.HELLO.decode().strip())
        return job

    async def wrote(self, job: LabJob, text: str) -> list[str]:
        async with asyncio.timeout(40):
            while True:
                lines, _ = await self.scheduler.logs(job.job_id, lines=50)
                if text in lines:
                    return list(lines)
                await asyncio.sleep(0.05)

    def emulator(self, job: LabJob) -> int:
        return int(self.bench.state(job.job_id)["pid"])

    def spec(self, job: LabJob) -> dict[str, Any]:
        return dict(json.loads((self.state_folder / "labs" / job.job_id / "spec.json").read_text()))


@pytest.fixture
async def machines(benches: Callable[..., Any], tmp_path: Path) -> Machines:
    images = tmp_path / "images"
    bench = await benches(vm_images=[images], vm_accelerator="tcg")
    return Machines(bench, images)


async def screen(address: str, port: int) -> bytes:
    """Return what the screen's WebSocket answers to an upgrade, and its first frame."""
    reader, writer = await asyncio.open_connection(address, port)
    try:
        writer.write(UPGRADE.encode())
        async with asyncio.timeout(10):
            return await reader.readuntil(b"\r\n\r\n") + await reader.readexactly(14)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def qemu_io(*arguments: str | Path) -> None:
    done = await asyncio.create_subprocess_exec("qemu-io", *arguments, stdout=subprocess.DEVNULL)
    assert await done.wait() == 0


async def test_a_machine_shows_its_screen_and_feels_its_power_button(machines: Machines) -> None:
    job = await machines.running(small_machines.POLITE)
    seen = await machines.scheduler.get(job.job_id)
    assert seen.ready is None, "an image that never says so is asked for its banner alone"
    said = await screen(seen.address, seen.port)
    assert said.startswith(b"HTTP/1.1 101 ")
    assert said.endswith(b"RFB 003.008\n")
    assert await machines.scheduler.owns_listener(job.job_id) is True
    began = time.monotonic()
    await machines.scheduler.stop(job.job_id, grace=30)
    end = (await machines.bench.until(job.job_id, S.ENDED)).end
    assert time.monotonic() - began < 10
    assert (end.exit_code, end.signal, end.asked) == (0, None, True)
    assert machines.bench.state(job.job_id)["shutdown"] == "guest-shutdown"
    assert machines.bench.living(job.job_id) == set()


async def test_a_machine_that_is_deaf_to_its_button_is_killed(machines: Machines) -> None:
    job = await machines.running(small_machines.DEAF)
    await machines.scheduler.stop(job.job_id, grace=0.5)
    end = (await machines.bench.until(job.job_id, S.ENDED)).end
    assert (end.signal, end.asked, end.out_of_memory) == (signal.SIGKILL, True, False)
    assert machines.bench.living(job.job_id) == set()


async def test_a_machine_that_is_shut_down_from_inside_ended_by_itself(machines: Machines) -> None:
    job = await machines.job(small_machines.LEAVES)
    await machines.scheduler.submit(job)
    end = (await machines.bench.until(job.job_id, S.ENDED)).end
    assert (end.exit_code, end.signal, end.asked) == (0, None, False)


async def test_a_panic_is_told_from_a_shutdown(machines: Machines) -> None:
    job = await machines.job(small_machines.PANICS)
    await machines.scheduler.submit(job)
    end = (await machines.bench.until(job.job_id, S.ENDED)).end
    assert (end.exit_code, end.asked, end.out_of_memory) == (1, False, False)
    assert end.text == "The machine's kernel panicked."


async def test_the_next_launcher_finds_the_machine_and_can_end_it(machines: Machines) -> None:
    job = await machines.running(small_machines.POLITE)
    await machines.scheduler.aclose()
    other = machines.bench.scheduler = machines.bench.new_scheduler()
    await other.start()
    seen = await other.get(job.job_id)
    assert (seen.state, await other.submit(job)) == (S.RUNNING, seen)
    assert (await screen(seen.address, seen.port)).endswith(b"RFB 003.008\n")
    await other.stop(job.job_id, grace=30)
    end = (await machines.bench.until(job.job_id, S.ENDED, scheduler=other)).end
    assert (end.exit_code, end.asked) == (0, True)


async def test_a_killed_supervisor_takes_its_machine_along(machines: Machines) -> None:
    job = await machines.running(small_machines.DEAF)
    emulator, ticks = machines.emulator(job), machines.bench.state(job.job_id)["pid_ticks"]
    os.kill(machines.bench.state(job.job_id)["shim"], signal.SIGKILL)
    end = (await machines.bench.until(job.job_id, S.ENDED)).end
    assert not processes.lives(emulator, ticks)
    assert "supervisor was killed" in end.text


async def test_a_killed_emulator_crashed(machines: Machines) -> None:
    job = await machines.running(small_machines.DEAF)
    os.kill(machines.emulator(job), signal.SIGKILL)
    end = (await machines.bench.until(job.job_id, S.ENDED)).end
    assert (end.signal, end.asked, end.out_of_memory) == (signal.SIGKILL, False, False)


async def test_all_attempts_of_a_lab_have_one_disk_until_it_is_discarded(machines: Machines) -> None:
    job = await machines.running(small_machines.POLITE)
    folder = machines.state_folder / "machines" / job.lab_id
    await machines.scheduler.discard(job.lab_id)
    assert (folder / image.DISK).exists(), "a disk in use is never discarded"
    await machines.scheduler.stop(job.job_id, grace=30)
    await machines.bench.until(job.job_id, S.ENDED)
    await machines.scheduler.purge(job.job_id)
    await qemu_io("-c", "write -P 0x41 4096 512", folder / image.DISK)
    again = dataclasses.replace(job, job_id=f"lab-{job.lab_id}-02", attempt=2)
    await machines.scheduler.submit(again)
    await machines.bench.until(again.job_id, S.RUNNING)
    await machines.scheduler.stop(again.job_id, grace=0)
    await machines.bench.until(again.job_id, S.ENDED)
    await qemu_io("-r", "-c", "read -P 0x41 4096 512", folder / image.DISK)
    assert isinstance(machines.scheduler, Keeper)
    await machines.scheduler.discard(job.lab_id)
    assert not folder.exists()
    installed = machines.scheduler._machine.vm.images.installed(job.vm.disk)
    image.verify(installed.folder, installed.image)  # nothing was ever written to what the disk grows on


async def test_a_disk_stays_on_its_image_when_a_newer_one_comes(machines: Machines) -> None:
    job = await machines.running(small_machines.POLITE)
    await machines.scheduler.stop(job.job_id, grace=30)
    await machines.bench.until(job.job_id, S.ENDED)
    before = machines.spec(job)["about"]["environment"]
    for part in (machines.images / job.vm.disk).iterdir():
        part.unlink()
    (machines.images / job.vm.disk).rmdir()
    small_machines.make(machines.images, job.vm.disk, small_machines.DEAF)
    assert (await machines.ready(job.vm.disk))[-1].ready
    again = dataclasses.replace(job, job_id=f"lab-{job.lab_id}-02", attempt=2)
    other = machines.job_on(job.vm.disk)
    for one in (again, other):
        await machines.scheduler.submit(one)
        await machines.bench.until(one.job_id, S.RUNNING)
    assert machines.spec(again)["about"]["environment"] == before
    assert machines.spec(other)["about"]["environment"] != before


async def test_the_emulator_has_no_rights_and_tells_no_secrets(machines: Machines) -> None:
    job = await machines.running(small_machines.DEAF, secret_environment={"KEY": "hidden-word"})
    pid = machines.emulator(job)
    proc = Path(f"/proc/{pid}")
    status = dict(
        line.split(":\t", 1) for line in (proc / "status").read_text().splitlines() if ":\t" in line
    )
    assert set(status["Uid"].split()) == {str(job.uid)}
    assert status["Groups"].split() == []
    assert {int(status[name], 16) for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {0}
    assert (status["NoNewPrivs"].strip(), status["Seccomp"].strip()) == ("1", "2")
    ours = {kind: (Path("/proc/self/ns") / kind).readlink() for kind in ("net", "mnt", "pid", "ipc", "uts")}
    for kind, namespace in ours.items():
        assert (proc / "ns" / kind).readlink() != namespace
    for name in ("cmdline", "environ"):
        assert b"hidden-word" not in (proc / name).read_bytes()
    seed = machines.state_folder / "labs" / job.job_id / "vm" / "seed"
    assert "env KEY=hidden-word" in seed.read_text().splitlines()
    assert (seed.stat().st_uid, seed.stat().st_mode & 0o777) == (job.uid, 0o600)
    assert pid in cgroups.members(machines.spec(job)["cgroups"])


async def test_a_guest_that_uses_all_its_memory_stays_within_its_size(machines: Machines) -> None:
    guest = guest_memory_mib(MEMORY_MIB, Accelerator.TCG, 0.5)
    job = await machines.running(small_machines.hungry(guest))
    await machines.wrote(job, "F")
    groups = machines.spec(job)["cgroups"]
    used = cgroups.memory_used_mib(groups)
    assert used is not None
    assert guest - 8 < used < MEMORY_MIB - 64, "what software translation may still take must be left"
    assert cgroups.out_of_memory_kills(groups) == 0
    assert (await machines.scheduler.get(job.job_id)).state is S.RUNNING
    sample = await machines.scheduler.sample(job.job_id)
    assert sample.memory_mib > guest - 8


@pytest.mark.parametrize(
    ("changes", "reason", "words"),
    [
        ({"memory_mib": 128}, Reason.LAUNCHER_ERROR, "needs at least"),
        ({"vm": VmRuntime(disk="nowhere")}, Reason.IMAGE_UNAVAILABLE, "not on this machine"),
        (
            {"mounts": (Mount(source="/nowhere", target="/data/x", read_only=True),)},
            Reason.VOLUME_UNAVAILABLE,
            "/nowhere is missing",
        ),
        ({"secret_environment": {"KEY": "two\nlines"}}, Reason.LAUNCHER_ERROR, "line break"),
    ],
)
async def test_what_cannot_run_is_refused_with_its_reason(
    machines: Machines, changes: dict[str, Any], reason: Reason, words: str
) -> None:
    job = await machines.job(small_machines.POLITE, **changes)
    with pytest.raises(SubmitRefusedError, match=words) as refused:
        await machines.scheduler.submit(job)
    assert refused.value.reason is reason
    assert await machines.scheduler.get(job.job_id) is None


async def test_a_missing_and_a_damaged_image_say_so(machines: Machines) -> None:
    assert "make vm-image" in (await machines.ready("nowhere"))[-1].text
    made = small_machines.make(machines.images, "broken", small_machines.POLITE)
    (made / image.KERNEL).write_bytes(b"something else")
    last = (await machines.ready("broken"))[-1]
    assert (last.ready, last.failed) == (False, True)
    assert "damaged" in last.text


def test_the_trial_runs_in_software_and_ends_in_time() -> None:
    assert (probe.runs(["-accel", "tcg"]) or 99) < probe.SECONDS
    assert probe.runs(["-accel", "tcg", "-S"], seconds=1) is None, "a machine that stands still does not pass"
    assert probe.runs(["-accel", "nonsense"]) is None
