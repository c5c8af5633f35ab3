import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from datalabs_standalone import processes


def _sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)"])


def test_a_reference_names_one_process_and_not_the_next_with_its_pid() -> None:
    with _sleeper() as child:
        found = processes.reference(child.pid)
        assert found is not None
        assert found.alive()
        assert not replace(found, started=found.started - 1).alive()
        assert not replace(found, boot="another boot").alive()
        child.kill()
        child.wait()
        assert not found.alive()


def test_a_zombie_is_dead() -> None:
    with _sleeper() as child:
        found = processes.reference(child.pid)
        assert found is not None
        os.kill(child.pid, signal.SIGKILL)
        deadline = time.monotonic() + 5
        while found.alive():
            assert time.monotonic() < deadline
        assert Path(f"/proc/{child.pid}").exists()


def test_clearing_ends_the_processes_and_spares_who_reused_a_pid() -> None:
    with _sleeper() as ours, _sleeper() as stranger:
        mine, other = processes.reference(ours.pid), processes.reference(stranger.pid)
        assert mine is not None
        assert other is not None
        processes.end([mine, replace(other, started=other.started - 7)], within=5)
        assert not mine.alive()
        assert other.alive()
        stranger.kill()


def test_clearing_kills_what_ignores_the_polite_request() -> None:
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print('x', flush=True); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", code], stdout=subprocess.PIPE) as stubborn:
        assert stubborn.stdout is not None
        stubborn.stdout.readline()
        found = processes.reference(stubborn.pid)
        assert found is not None
        processes.end([found], within=0.1)
        assert not found.alive()


def test_a_program_ends_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    parent = (
        "import os, sys, time\n"
        "from pathlib import Path\n"
        "from datalabs_standalone.processes import run_program\n"
        "pid = run_program([sys.executable, '-I', '-S', '-c', 'import time; time.sleep(600)'],"
        " environment={}, log=2, death_signal=9, cwd=Path('/'))\n"
        "print(pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, cwd=tmp_path) as supervisor:
        assert supervisor.stdout is not None
        found = processes.reference(int(supervisor.stdout.readline()))
        assert found is not None
        supervisor.kill()
        deadline = time.monotonic() + 5
        while found.alive():
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_memory_and_cpu_of_a_family_are_measured() -> None:
    own = processes.family(os.getpid())
    assert own[0] == os.getpid()
    assert processes.memory_kib(own) > 1024
    assert processes.cpu_seconds(own) > 0
