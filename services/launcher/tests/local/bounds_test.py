"""Process labs that harm what no limit of the kernel ends: they end with their reason, and nobody else is hurt."""

from pathlib import Path
from typing import Any

from datalabs_launcher.local import bounds, disk
from datalabs_launcher.scheduler import JobState


async def test_a_full_scratch_ends_with_its_reason(benches: Any) -> None:
    bench = await benches(disk_check=0.5)
    neighbour = await bench.running("/bin/sleep", "100", owner="bob")
    program = "dd if=/dev/zero of=/media/scratch/big bs=1M count=100 2>/dev/null; sleep 1000"
    end = (await bench.ended("/bin/sh", "-c", program)).end
    assert (end.disk_full, end.asked) == (True, False)
    assert "64 MiB" in end.text
    assert (await bench.scheduler.get(neighbour.job_id)).state is JobState.RUNNING


async def test_too_many_small_files_end_with_their_reason(benches: Any) -> None:
    bench = await benches(disk_check=0.5, files_per_mib=160)
    program = (
        "cd /media/scratch; for d in $(seq 30); do mkdir $d; (cd $d; touch $(seq 500)); done; sleep 1000"
    )
    end = (await bench.ended("/bin/sh", "-c", program)).end
    assert end.disk_full
    assert "10240 files" in end.text


async def test_a_fork_bomb_ends_with_its_reason(benches: Any) -> None:
    bench = await benches(disk_check=0.5, fork_patience=2, processes_per_lab=48)
    neighbour = await bench.running("/bin/sleep", "100", owner="bob")
    end = (await bench.ended("/bin/bash", "-c", "bomb() { bomb | bomb & }; bomb; sleep 1000")).end
    assert (end.pids_exceeded, end.asked) == (True, False)
    assert "48 processes" in end.text
    assert (await bench.scheduler.get(neighbour.job_id)).state is JobState.RUNNING


async def test_a_flood_of_words_leaves_a_few_megabytes(benches: Any) -> None:
    bench = await benches(log_mib=1)
    program = "head -c 300000000 /dev/zero | tr '\\0' 'x' | fold -w 1000; echo; echo the end"
    job = bench.job("/bin/sh", "-c", program)
    await bench.scheduler.submit(job)
    await bench.until(job.job_id, JobState.ENDED)
    lines, older = await bench.scheduler.logs(job.job_id, lines=200)
    assert (lines[-1], older) == ("the end", True)
    folder = bench.state_folder / "labs" / job.job_id
    assert sum(path.stat().st_size for path in folder.glob("log*")) < 3 * 2**20


def test_only_who_stands_at_the_limit_and_was_refused_is_cramped(tmp_path: Path) -> None:
    def look(refused: int, tasks: int, now: float) -> bool:
        (tmp_path / "pids.events").write_text(f"max {refused}\n")
        (tmp_path / "pids.current").write_text(f"{tasks}\n")
        return looks.cramped({"pids": str(tmp_path)}, pids=100, now=now, patience=10)

    looks = bounds.Looks()
    assert not look(0, 100, 0)  # it uses all that it may have
    assert not look(5, 40, 20)  # it was refused some, and has come down
    assert not look(5, 95, 30)
    assert not look(5, 95, 39)
    assert look(5, 95, 40)
    assert not look(5, 20, 41)
    assert not look(9, 99, 42)


def test_why_a_lab_was_ended_is_kept(tmp_path: Path) -> None:
    assert bounds.noted(tmp_path) is None
    bounds.note(tmp_path, bounds.Over(bounds.DISK_FULL, "so"))
    assert bounds.noted(tmp_path) == bounds.Over(bounds.DISK_FULL, "so")


def test_scratch_is_found_under_a_root_too() -> None:
    binds = [["/s", "/r/media/scratch", "rw"], ["/h", "/r/media/home", "rw"], ["/t", "/media/scratch", "rw"]]
    assert bounds.scratch_of(binds, "/r") == ["/s", "/t"]


def test_who_takes_long_to_count_is_counted_less_often(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"x" * 2**21)
    counter = disk.Counter()
    assert counter.over([str(tmp_path)], disk_mib=1, files_per_mib=1) is not None
    counter.again_at += 3600
    assert counter.over([str(tmp_path)], disk_mib=1, files_per_mib=1) is None
