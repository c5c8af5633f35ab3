"""The disk under NATS or PostgreSQL is full: running labs serve on, nothing is lost, and all goes on when there is room."""

import asyncio
import contextlib
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import psycopg
import pytest

from datalabs_client import Datalabs
from datalabs_client.client import LaunchedLab
from datalabs_contracts.labs import LabState
from datalabs_contracts.problems import ProblemCode, ProblemError
from datalabs_runtime.settings import PostgresSettings, load
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
CLEAR = {ProblemCode.DISK_FULL, ProblemCode.SERVICE_UNAVAILABLE, ProblemCode.DEADLINE_EXCEEDED}
"""What a person may be told meanwhile: that there is no room, or that a part is away; never that it was a mistake."""
AWAY = "no answer"
SEGMENT_MIB = 16
SEGMENTS = 24
"""More write-ahead segments than PostgreSQL keeps ready for use again."""


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
    """Write until not one byte more is taken; return what has to go again. Repeating it fills what became free."""
    ballast = folder / "ballast"
    with ballast.open("ab", buffering=0) as file:
        for block in (2**20, 2**12, 1):
            with contextlib.suppress(OSError):
                while file.write(b"\0" * block) == block:
                    pass
    return ballast


async def use_up_segments(platform: RunningPlatform, disk: Path) -> str:
    """Write to PostgreSQL's log until it has no segment left that it could use again; return how that ended.

    What it then needs is a new file, which it cannot have: it ends itself, and cannot start while there is no room.
    """
    settings = load(PostgresSettings, platform.state / "datalabs.toml")
    address = settings.url("launcher").set(drivername="postgresql").render_as_string(hide_password=False)
    try:
        async with await psycopg.AsyncConnection.connect(address, autocommit=True) as connection:
            for _ in range(SEGMENTS * SEGMENT_MIB):
                await connection.execute(
                    "SELECT pg_logical_emit_message(false, 'room', repeat('x', 1048576))"
                )
                fill(disk)
    except psycopg.Error as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0]}"
    return "it took everything"


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
            await _through(platform, disk, part)
        finally:
            await asyncio.to_thread(platform.down)


@dataclass
class Meanwhile:
    """What was tried while the disk was full: what was taken, and with which codes the rest was refused."""

    lab: LaunchedLab
    operator: Datalabs
    browser: httpx2.AsyncClient
    taken: set[str] = field(default_factory=set)
    codes: Counter[str] = field(default_factory=Counter)

    async def passes(self, disk: Path, seconds: float) -> None:
        """Use the lab, keep it longer and launch others, again and again, while what becomes free is filled."""
        deadline = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < deadline:
            fill(disk)
            assert (await self.browser.get("/")).text == "ok"
            await self._try(self.lab.extend)
            await self._try(self._launch)
            await asyncio.sleep(0.2)
        assert set(self.codes) <= {"taken", AWAY, *CLEAR}, self.codes

    async def _launch(self) -> None:
        """Wish the same until it is taken, then the next one."""
        lab = await self.operator.launch("stub", idempotency_key=f"wish {len(self.taken)}")
        self.taken.add(lab.id)

    async def _try(self, call: Callable[[], Awaitable[object]]) -> None:
        try:
            await call()
            self.codes["taken"] += 1
        except ProblemError as problem:
            self.codes[problem.code] += 1
        except httpx2.TransportError:
            self.codes[AWAY] += 1


async def _through(platform: RunningPlatform, disk: Path, part: str) -> None:
    async with platform.client("ada") as ada, platform.client("admin") as admin:
        old = await ada.launch("stub", name="before")
        await old.ready(timeout=60)
        async with ada.visit(await old.open()) as browser:
            meanwhile = Meanwhile(old, admin, browser)
            ballast = fill(disk)
            await meanwhile.passes(disk, FULL_SECONDS)
            print(f"{part} full: {dict(meanwhile.codes)}")
            if part == "postgres":
                assert meanwhile.codes[ProblemCode.DISK_FULL], "nothing was refused for want of room"
                meanwhile.codes.clear()
                print(f"the rest of its log used up: {await use_up_segments(platform, disk)}")
                await meanwhile.passes(disk, FULL_SECONDS)
                print(f"{part} full, with its log: {dict(meanwhile.codes)}")
                assert meanwhile.codes["taken"] == 0
            ballast.unlink()
            new = await verdict.until(
                "a launch is taken again",
                lambda: ada.launch("stub", idempotency_key="one wish"),
                seconds=verdict.RECOVERY_SECONDS,
            )
            assert (await verdict.settled(new)).state is LabState.READY
            assert (await browser.get("/")).text == "ok"
        assert (await verdict.settled(old)).state is LabState.READY
        for lab_id in meanwhile.taken:
            assert (await verdict.settled(await admin.lab(lab_id))).state is LabState.READY
        assert {one.id for one in await ada.labs()} == {old.id, new.id}
        assert {one.id for one in await admin.labs()} == meanwhile.taken
        for lab in [old, new, *await admin.labs()]:
            await lab.stop()
            assert (await verdict.ended(lab)).reason == "stopped_by_user"
