"""The platform run by an ordinary user, without root: played inside a root lab, where everybody is one."""

import json
import os
import sysconfig
from pathlib import Path
from typing import Any

import pytest

import datalabs_contracts
import datalabs_launcher
import datalabs_runtime

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="to be somebody else takes root")

SCRIPT = """
import asyncio, json, sys
from pathlib import Path
for folder in {paths!r}:
    sys.path.append(folder)
sys.path.insert(0, {repository!r})
import structlog
structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
from services.launcher.tests.local.conftest import Bench
from datalabs_contracts.datalabs import Runtime

async def main():
    bench = Bench(Path("/media/home/state"))
    await bench.scheduler.start()
    means = bench.scheduler._machine.means
    (bench.volume("home/bob", 0) / "diary").write_text("bob's")
    found = dict(
        isolation=means.isolation, networks=means.networks, groups=sorted(means.groups), reasons=means.reasons,
        notices=await bench.scheduler.notices(Runtime.PROCESS), operators_only=bench.scheduler.operators_only,
    )
    found["seen"] = await bench.said(
        "sh", "-c", "id -u; ls /media; ls " + str(bench.volume("home/bob", 0)) + " 2>&1; touch mine; "
        "grep -E '^(Cap|NoNewPrivs)' /proc/self/status; mount -t tmpfs x /tmp 2>&1"
    )
    found["kept"] = (bench.volume("home/ada", 0) / "mine").exists()
    job = await bench.running("python", "-m", "http.server", "--bind", "{{address}}", "{{port}}")
    seen = await bench.scheduler.get(job.job_id)
    found["address"] = seen.address
    async with asyncio.timeout(15):
        while True:
            try:
                await asyncio.open_connection(seen.address, seen.port)
                break
            except OSError:
                await asyncio.sleep(0.05)
    found["owned"] = await bench.scheduler.owns_listener(job.job_id)
    state = bench.state(job.job_id)
    import os, signal
    os.kill(state["shim"], signal.SIGKILL)
    from datalabs_launcher.scheduler import JobState
    ended = await bench.until(job.job_id, JobState.ENDED)
    found["end"] = ended.end.text
    eater = await bench.ended("python", "-c", "import time\\nx=[]\\nwhile True: x.append(b'x'*5000000+b'y'); time.sleep(0.02)", memory_mib=96)
    found["eater"] = ended_of(eater)
    await bench.sweep()
    print("FOUND", json.dumps(found))

def ended_of(seen):
    return [seen.end.out_of_memory, seen.end.exit_code]

asyncio.run(main())
"""


def test_labs_of_an_ordinary_user_have_views_of_their_own(shims: Any, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    os.chown(home, 20_001, 20_001)
    sources = [
        Path(module.__file__ or "").parents[1]
        for module in (datalabs_contracts, datalabs_launcher, datalabs_runtime)
    ]
    site = Path(sysconfig.get_paths()["purelib"])
    tests = Path(__file__).parents[1]
    repository = tests.parents[2]
    binds = [[str(path), str(path), "ro"] for path in (*sources, site, tests)]
    script = home / "script.py"
    paths = [str(path) for path in (*sources, site)]
    script.write_text(SCRIPT.format(paths=paths, repository=str(repository)))
    state, log = shims.run(
        str(shims.interpreter.executable),
        "-I",
        "/media/home/script.py",
        binds=[*binds, [str(home), "/media/home", "rw"], *([s, t, "ro"] for s, t in shims.interpreter.binds)],
        limits={"memory_mib": 1024, "pids": 256, "cores": 1.0},
        env={"PATH": "/usr/bin:/bin", "HOME": "/media/home", "LANG": "C.UTF-8"},
    )
    assert state["exit"] == 0, log
    found = json.loads(log.rpartition("FOUND ")[2])
    assert found["isolation"] == "user", found
    assert not found["networks"]
    assert not found["operators_only"]
    assert any("share this machine's network" in text for text in found["notices"])
    assert any("watched here, not bounded" in text for text in found["notices"])
    lines = found["seen"].splitlines()
    assert lines[:3] == ["20001", "home", "scratch"]
    assert "No such file" in lines[3]
    assert "0000000000000000" in found["seen"]
    assert found["kept"]
    assert found["address"].startswith("127.")
    assert found["owned"] is True
    assert "supervisor was killed" in found["end"]
    assert (
        found["eater"][0] or found["eater"][1] == 1
    )  # the watchdog's kill, or the process's own MemoryError
