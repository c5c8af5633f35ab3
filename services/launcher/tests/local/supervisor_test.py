import json
import os
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from datalabs_launcher.local import cgroups, processes
from datalabs_launcher.local.supervisor import BUSY, SPENT

needs_groups = pytest.mark.skipif(os.geteuid() != 0, reason="control groups of one's own need root here")


def test_records_who_ran_when_and_how_it_ended(shims: Any) -> None:
    before = time.time()
    state, log = shims.run("/bin/sh", "-c", "echo hello; exit 7")
    assert log == "hello\n"
    assert (state["phase"], state["exit"], state["signal"]) == ("ended", 7, None)
    assert before <= state["created"] <= state["started"] <= state["ended"] <= time.time()
    assert state["boot"] == processes.boot_id()
    assert state["asked"] is None
    assert state["left"] == []
    assert state["cpu_seconds"] > 0


def test_a_signal_is_told_from_an_exit_code(shims: Any) -> None:
    state, _ = shims.run("/bin/sh", "-c", "kill -SEGV $$")
    assert (state["exit"], state["signal"]) == (128 + signal.SIGSEGV, signal.SIGSEGV)


def test_a_second_shim_of_a_running_attempt_starts_nothing(shims: Any) -> None:
    place = shims.attempt("/bin/sh", "-c", "echo once; sleep 60")
    shims.start(place)
    first = shims.until(place, "running")
    assert shims.start(place).wait(10) == BUSY
    assert shims.state(place) == first
    assert (place / "log").read_text().count("once") == 1


def test_an_attempt_that_has_run_is_never_run_again(shims: Any) -> None:
    place = shims.attempt("/bin/sh", "-c", "echo once")
    shims.start(place).wait(10)
    before = shims.state(place)
    assert shims.start(place).wait(10) == SPENT
    assert shims.state(place) == before
    assert (place / "log").read_text() == "once\n"


def test_what_cannot_be_started_ends_with_the_reason(shims: Any) -> None:
    state, _ = shims.run("/usr/bin/there-is-no-such-program")
    assert state["phase"] == "ended"
    assert "No such file" in state["error"]


def test_a_missing_mount_is_named(shims: Any) -> None:
    state, _ = shims.run("/bin/true", binds=[["/nonexistent/volume", "/media/home", "rw"]])
    assert "/media/home" in state["error"]


def test_a_lab_that_heeds_the_request_ends_in_peace(shims: Any) -> None:
    place = shims.attempt(
        "/bin/sh", "-c", "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done"
    )
    shim = shims.start(place)
    _until_logged(place, "up")
    began = time.monotonic()
    shim.send_signal(signal.SIGTERM)
    state = shims.until(place, "ended")
    assert time.monotonic() - began < 3
    assert state["exit"] == 0
    assert state["asked"] is not None
    assert "bye" in (place / "log").read_text()


def test_a_lab_that_does_not_heed_it_is_killed_after_the_grace(shims: Any) -> None:
    place = shims.attempt("/bin/sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.05; done", grace=0.5)
    shim = shims.start(place)
    _until_logged(place, "up")
    began = time.monotonic()
    shim.send_signal(signal.SIGTERM)
    state = shims.until(place, "ended")
    assert 0.4 < time.monotonic() - began < 5
    assert state["signal"] == signal.SIGKILL
    assert not processes.lives(state["pid"], state["pid_ticks"])


def test_the_request_may_name_another_grace_and_shorten_it(shims: Any) -> None:
    place = shims.attempt("/bin/sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.05; done", grace=600)
    shim = shims.start(place)
    _until_logged(place, "up")
    (place / "stop").write_text("300")
    shim.send_signal(signal.SIGTERM)
    (place / "stop").write_text("0.1")
    shim.send_signal(signal.SIGTERM)
    assert shims.until(place, "ended")["signal"] == signal.SIGKILL


def test_a_request_from_before_the_start_counts(shims: Any) -> None:
    place = shims.attempt("/bin/sleep", "60")
    (place / "stop").write_text("1")
    shims.start(place)
    assert shims.until(place, "ended")["asked"] is not None


def test_only_the_lab_itself_is_asked_and_all_of_it_ends(shims: Any) -> None:
    code = (
        "trap 'exit 3' TERM; setsid sh -c 'trap \"\" TERM; sleep 300' & echo up; while :; do sleep 0.05; done"
    )
    place = shims.attempt("/bin/sh", "-c", code)
    shim = shims.start(place)
    _until_logged(place, "up")
    inside = processes.descendants_of(shims.state(place)["shim"])
    assert len(inside) >= 3
    shim.send_signal(signal.SIGTERM)
    assert shims.until(place, "ended")["exit"] == 3
    assert [pid for pid in inside if _runs(pid)] == []


def test_children_left_behind_end_with_the_lab(shims: Any) -> None:
    state, _ = shims.run("/bin/sh", "-c", "setsid sleep 300 & exit 0")
    assert state["exit"] == 0
    assert state["left"] == []


def test_a_killed_shim_takes_its_lab_along_at_once(shims: Any) -> None:
    place = shims.attempt("/bin/sh", "-c", "trap '' TERM HUP; setsid sleep 300 & sleep 300")
    shim = shims.start(place)
    state = shims.until(place, "running")
    inside = processes.descendants_of(state["shim"])
    shim.kill()
    shim.wait()
    deadline = time.monotonic() + 5
    while any(_runs(pid) for pid in inside):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@needs_groups
def test_a_shim_killed_at_any_moment_of_the_start_leaves_no_lab(shims: Any) -> None:
    for number in range(24):
        place = shims.attempt("/bin/sh", "-c", "trap '' TERM HUP INT; setsid sleep 300 & sleep 300")
        groups = json.loads((place / "spec.json").read_text())["cgroups"]
        shim = shims.start(place)
        time.sleep(0.004 * number)
        shim.kill()
        shim.wait()
        deadline = time.monotonic() + 5
        while cgroups.members(groups):
            assert time.monotonic() < deadline, (number, shims.state(place))
            time.sleep(0.005)


def test_the_log_is_bounded_and_keeps_the_newest(shims: Any) -> None:
    code = "for n in range(60000): print(f'line {n} of many, long enough to matter')"
    place = shims.attempt(*shims.python(code), log_bytes=200_000)
    shims.start(place).wait(20)
    size = sum((place / name).stat().st_size for name in ("log", "log.1"))
    assert 200_000 <= size < 600_000
    assert (place / "log").read_text().endswith("line 59999 of many, long enough to matter\n") or (
        place / "log.1"
    ).read_text().endswith("line 59999 of many, long enough to matter\n")


def test_a_lab_may_close_its_output_and_live_on(shims: Any) -> None:
    state, _ = shims.run("/bin/sh", "-c", "exec >&- 2>&-; sleep 0.3; exit 4")
    assert state["exit"] == 4


@needs_groups
def test_out_of_memory_is_told_from_a_plain_kill(shims: Any) -> None:
    eater, _ = shims.run(*shims.python("x=[]\nwhile True: x.append(bytearray(10_000_000))"))
    assert eater["oom_kills"] > 0
    assert eater["signal"] == signal.SIGKILL
    killed, _ = shims.run("/bin/sh", "-c", "kill -KILL $$")
    assert killed["oom_kills"] == 0
    assert killed["signal"] == signal.SIGKILL


def test_without_control_groups_a_watchdog_bounds_the_memory(shims: Any) -> None:
    code = "import time\nx=[]\nwhile True: x.append(bytearray(b'x' * 5_000_000)); time.sleep(0.02)"
    state, _ = shims.run(*shims.python(code), cgroups={})
    assert state["over_memory"] or "MemoryError" in shims.run(*shims.python(code), cgroups={})[1]


@needs_groups
def test_a_fork_bomb_hits_its_limit_and_nobody_else(shims: Any) -> None:
    code = (
        "import os,time\nn=0\n"
        "while True:\n"
        "  try: pid=os.fork()\n"
        "  except OSError as e: print('refused after', n, e); break\n"
        "  if pid==0: time.sleep(300)\n"
        "  n+=1\n"
    )
    state, log = shims.run(*shims.python(code))
    match = re.search(r"refused after (\d+)", log)
    assert match
    assert int(match.group(1)) < 64
    assert state["refused_forks"] > 0
    assert state["left"] == []


@needs_groups
def test_its_groups_go_with_it(shims: Any) -> None:
    place = shims.attempt("/bin/true")
    groups = list(json.loads((place / "spec.json").read_text())["cgroups"].values())
    shims.start(place).wait(10)
    deadline = time.monotonic() + 3
    while any(Path(group).exists() for group in groups) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(Path(group).exists() for group in groups)


def test_kept_apart_by_nothing_it_still_ends_whole(shims: Any) -> None:
    place = shims.attempt(
        "/bin/sh", "-c", "setsid sleep 300 & echo up; sleep 300", isolation="none", cgroups={}
    )
    shim = shims.start(place)
    _until_logged(place, "up")
    inside = processes.descendants_of(shims.state(place)["shim"])
    shim.send_signal(signal.SIGTERM)
    shims.until(place, "ended")
    assert [pid for pid in inside if _runs(pid)] == []


def _runs(pid: int) -> bool:
    try:
        return processes.stat_of(pid)[0] != processes.ZOMBIE
    except OSError:
        return False


def _until_logged(place: Path, text: str) -> None:
    deadline = time.monotonic() + 10
    while not (place / "log").exists() or text not in (place / "log").read_text():
        assert time.monotonic() < deadline, (place / "shim.log").read_text()
        time.sleep(0.01)
