"""Parts, loops, health: how a service starts, tells of itself and ends."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from datalabs_runtime.health import Health
from datalabs_runtime.service import EXIT_SETTINGS, Loop, Service, run_service
from datalabs_testing.clock import FakeClock


class Recorded:
    def __init__(self, name: str, said: list[str], *, fails: str = "") -> None:
        self.name, self._said, self._fails = name, said, fails

    async def start(self) -> None:
        self._said.append(f"+{self.name}")
        if self._fails == "start":
            raise OSError("no")

    async def aclose(self) -> None:
        self._said.append(f"-{self.name}")
        if self._fails == "stop":
            raise OSError("no")


async def test_parts_start_in_order_and_stop_in_reverse_whatever_happens() -> None:
    said: list[str] = []
    service = Service("x", [Recorded("a", said), Recorded("b", said, fails="stop"), Recorded("c", said)])
    stop = asyncio.Event()
    running = asyncio.create_task(service.run(stop))
    await asyncio.sleep(0.01)
    stop.set()
    await running
    assert said == ["+a", "+b", "+c", "-c", "-b", "-a"]


async def test_a_part_that_does_not_start_stops_those_before_it() -> None:
    said: list[str] = []
    service = Service("x", [Recorded("a", said), Recorded("b", said, fails="start"), Recorded("c", said)])
    with pytest.raises(OSError, match="no"):
        await service.run(asyncio.Event())
    assert said == ["+a", "+b", "-b", "-a"]


async def get(socket: Path, path: str) -> tuple[int, str]:
    reader, writer = await asyncio.open_unix_connection(str(socket))
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    answer = (await reader.read()).decode()
    writer.close()
    return int(answer.split()[1]), answer.partition("\r\n\r\n")[2]


async def test_health_is_told_on_a_private_socket(harness_folder: Path) -> None:
    socket = harness_folder / "run" / "x.health.sock"
    health = Health("x", socket)
    state: list[str | None] = [None]

    async def check() -> str | None:
        return state[0]

    async def broken() -> str | None:
        raise OSError("gone")

    health.add("database", check)
    service = Service("x", [health], health)
    await service.start()
    assert await get(socket, "/health/live") == (200, '{"status":"ok"}')
    assert await get(socket, "/health/ready") == (200, '{"status": "ok", "checks": {"database": "ok"}}')
    assert socket.stat().st_mode & 0o777 == 0o600
    state[0] = "away"
    health.add("other", broken)
    status, body = await get(socket, "/health/ready")
    assert status == 503
    assert json.loads(body)["checks"] == {"database": "away", "other": "OSError: gone"}
    status, metrics = await get(socket, "/metrics")
    assert status == 200
    assert "datalabs_rpc_server_seconds" in metrics or "python_info" in metrics
    assert (await get(socket, "/else"))[0] == 404
    await service.aclose()
    assert not socket.exists()


async def test_a_loop_reports_errors_and_goes_on(clock: FakeClock) -> None:
    runs = 0

    async def work() -> None:
        nonlocal runs
        runs += 1
        if runs == 2:
            raise ValueError("once")

    loop = Loop("x", 10, work, clock=clock)
    await loop.start()
    await clock.advance(0)
    assert runs == 1
    await clock.advance(9)
    assert runs == 1
    await clock.advance(1)
    assert (runs, loop.failures) == (2, 1)
    await clock.advance(10)
    assert (runs, loop.failures) == (3, 0)
    await loop.aclose()
    await clock.advance(100)
    assert runs == 3


async def test_a_loop_asks_each_time_how_long_to_rest(clock: FakeClock) -> None:
    runs, rest = 0, 10.0

    async def work() -> None:
        nonlocal runs
        runs += 1

    loop = Loop("x", lambda: rest, work, clock=clock)
    await loop.start()
    await clock.advance(0)
    rest = 100.0
    await clock.advance(10)
    assert runs == 2
    await clock.advance(99)
    assert runs == 2
    await clock.advance(1)
    assert runs == 3
    await loop.aclose()


async def test_a_loop_can_be_woken(clock: FakeClock) -> None:
    runs = 0

    async def work() -> None:
        nonlocal runs
        runs += 1

    wake = asyncio.Event()
    loop = Loop("x", 3600, work, wake=wake, clock=clock, at_once=False)
    await loop.start()
    await clock.advance(1)
    assert runs == 0
    wake.set()
    await clock.advance(0)
    assert runs == 1
    await clock.advance(3599)
    assert runs == 1
    await loop.aclose()


PROGRAM = """
    import asyncio, sys
    from pathlib import Path
    from datalabs_runtime.service import Service, main

    class Part:
        name = "part"
        async def start(self):
            print("up", open("/proc/self/cmdline").read().split("\\0")[0], flush=True)
        async def aclose(self):
            print("down", flush=True)

    main("sample", lambda config: Service("sample", [Part()]))
"""


def program(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_program_carries_its_title_and_ends_gracefully_on_sigterm() -> None:
    process = program()
    assert process.stdout is not None
    assert process.stdout.readline() == "up python -m datalabs_sample\n"
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=20)
    assert out == "down\n"
    assert process.returncode == 0


def test_settings_that_cannot_be_used_are_one_line_and_a_code(tmp_path: Path) -> None:
    file = tmp_path / "datalabs.toml"
    file.write_text("[telemetry]\nsample_ratio = 7\n")
    process = program(str(file))
    out, err = process.communicate(timeout=20)
    assert (out, process.returncode) == ("", EXIT_SETTINGS)
    assert len(err.splitlines()) == 1
    assert "telemetry.sample_ratio" in err


def test_a_service_runs_in_a_forked_child() -> None:
    """As `datalabs up` does: everything is imported first, then each service is a fork."""
    said, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(said)
        os._exit(run_service("forked", _forked(write)))
    os.close(write)
    with os.fdopen(said) as stream:
        assert stream.readline() == "up\n"
        os.kill(child, signal.SIGTERM)
        assert stream.read() == "down\n"
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def _forked(write: int) -> Callable[[Path | None], Service]:
    class Part:
        name = "part"

        async def start(self) -> None:
            os.write(write, b"up\n")

        async def aclose(self) -> None:
            os.write(write, b"down\n")

    return lambda _: Service("forked", [Part()])


def test_importing_is_light() -> None:
    code = "import sys, datalabs_runtime.outbox, datalabs_runtime.service; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    heavy = {"requests", "fastapi", "pytest", "grpc", "alembic", "yaml", "datalabs_testing"}
    assert heavy.isdisjoint(done.stdout.split())
