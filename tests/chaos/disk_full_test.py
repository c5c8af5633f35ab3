"""The disk under NATS or PostgreSQL is full: running labs serve on, nothing is lost, and all goes on when there is room."""

import asyncio
import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from datalabs_contracts.labs import LabState
from datalabs_contracts.problems import ProblemError
from datalabs_testing.edge import free_port
from tests.chaos import verdict
from tests.running import TEST_CONTENT, RunningPlatform

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.timeout(240),
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root"),
]

SIZES_MIB = {"nats": 96, "postgres": 320}
FULL_SECONDS = 10.0
KEPT_BYTES = 64 * 1024
"""What is left free: less than a write-ahead segment or a stream's block needs."""


@contextlib.contextmanager
def small_disk(folder: Path, size_mib: int) -> Iterator[Path]:
    """Put a small ext4 of its own under a folder, with what is in it, until the block ends."""
    image, aside = folder.parent.with_suffix(".img"), folder.parent.with_suffix(".aside")
    shutil.copytree(folder, aside, symlinks=True)
    with image.open("wb") as file:
        file.truncate(size_mib * 2**20)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(image)], check=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(folder)], check=True)
    try:
        (folder / "lost+found").rmdir()
        shutil.copytree(aside, folder, symlinks=True, dirs_exist_ok=True)
        folder.chmod(0o700)
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
        image.unlink()


def fill(folder: Path) -> Path:
    """Write until nearly nothing is free; return what has to go again."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for block in (2**20, 2**14, 2**10):
            with contextlib.suppress(OSError):
                while os.statvfs(folder).f_bavail * 4096 > KEPT_BYTES:
                    file.write(b"\0" * block)
    return ballast


@pytest.mark.parametrize("part", list(SIZES_MIB))
async def test_a_full_disk_stops_new_things_and_harms_no_old_ones(tmp_path: Path, part: str) -> None:
    platform = RunningPlatform(
        state=tmp_path / "s",
        port=free_port(),
        settings={"DATALABS_PLATFORM_CONTENT": f'["{TEST_CONTENT}"]'},
    )
    await asyncio.to_thread(platform.up)
    await asyncio.to_thread(platform.down)
    with small_disk(platform.state / part, SIZES_MIB[part]) as disk:
        try:
            await asyncio.to_thread(platform.up)
            await _through(platform, disk)
        finally:
            await asyncio.to_thread(platform.down)


async def _through(platform: RunningPlatform, disk: Path) -> None:
    async with platform.client("ada") as ada:
        old = await ada.launch("stub", name="before")
        await old.ready(timeout=60)
        async with ada.visit(await old.open()) as browser:
            ballast = fill(disk)
            refused: list[str] = []
            deadline = asyncio.get_running_loop().time() + FULL_SECONDS
            while asyncio.get_running_loop().time() < deadline:
                assert (await browser.get("/")).text == "ok"
                try:
                    await ada.call(
                        "POST", "/labs", {"datalab": "stub"}, headers={"idempotency-key": "one wish"}
                    )
                except (ProblemError, httpx2.TransportError) as error:
                    refused.append(str(error))
                await asyncio.sleep(0.5)
            print(f"while full: {sorted(set(refused)) or 'everything was taken'}")
            ballast.unlink()
            new = await verdict.until(
                "a launch is taken again",
                lambda: ada.launch("stub", idempotency_key="one wish"),
                seconds=verdict.RECOVERY_SECONDS,
            )
            assert (await verdict.settled(new)).state is LabState.READY
            assert (await browser.get("/")).text == "ok"
        assert (await verdict.settled(old)).state is LabState.READY
        for lab in (old, new):
            await lab.stop()
            assert (await verdict.ended(lab)).reason == "stopped_by_user"
        assert {one.id for one in await ada.labs()} == {old.id, new.id}
