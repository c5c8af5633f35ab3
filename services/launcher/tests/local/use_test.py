"""What a lab on this machine uses, and whether somebody's work is in it."""

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from datalabs_launcher.local import disk, meters


@pytest.mark.skipif(os.geteuid() != 0, reason="control groups of one's own need root here")
async def test_scratch_and_network_are_measured(bench: Any) -> None:
    job = await bench.running(
        "sh", "-c", "dd if=/dev/zero of=/media/scratch/x bs=1M count=3 2>/dev/null; exec sleep 60"
    )
    await asyncio.sleep(0.3)
    sample = await bench.scheduler.sample(job.job_id)
    assert sample.max_disk_mib == job.disk_mib
    if sample.disk_mib is not None:  # a bench without a scratch has none to count
        assert sample.disk_mib >= 3
    if bench.scheduler._machine.means.networks:
        assert sample.received_bytes is not None
        assert sample.sent_bytes is not None


def test_a_folder_is_counted_within_bounds_and_without_following_links(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file").write_bytes(b"x" * 2**20)
    (tmp_path / "again").hardlink_to(tmp_path / "deep" / "file")
    (tmp_path / "away").symlink_to("/usr")
    used = meters.used_mib(tmp_path)
    assert used is not None
    assert 1 <= used < 1.2
    assert meters.used_mib(tmp_path / "nowhere") is None


def test_counting_ends_at_a_number_of_files(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"{number}").write_bytes(b"x")
    assert disk.written([str(tmp_path)], most_files=3).more
    assert not disk.written([str(tmp_path)], most_files=50).more


async def test_a_program_in_a_terminal_is_work_and_a_prompt_is_none(bench: Any) -> None:
    """`script` gives each its terminal; a shell that reads commands from it is at its prompt."""
    waits = "import os, pty, time; pid, fd = pty.fork(); pid or os.execlp('sh', 'sh', '-i'); time.sleep(60)"
    works = waits.replace("time.sleep(60)", "time.sleep(.3); os.write(fd, b'sleep 50\\n'); time.sleep(60)")
    prompt, busy = await bench.running("python", "-c", waits), await bench.running("python", "-c", works)
    await asyncio.sleep(1.0)
    for job in (prompt, busy):
        await bench.scheduler.active(job.job_id)
    await asyncio.sleep(0.5)
    assert await bench.scheduler.active(busy.job_id) is True
    assert await bench.scheduler.active(prompt.job_id) is False
