import asyncio
import json
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from datalabs_standalone import control
from datalabs_standalone.children import Children
from datalabs_standalone.failures import StartFailedError
from datalabs_standalone.probes import SILENCE, Answer
from datalabs_standalone.state import RunningParts, StateFolder
from datalabs_standalone.supervisor import PlatformPlan, Say, Supervisor
from datalabs_standalone.testing import SLEEPER, Heard, exists, python_part, until


async def _nothing(_say: Say) -> None:
    pass


def plan_of(folder: Path, **changes: Any) -> PlatformPlan:
    plan = PlatformPlan(
        address="http://localhost:1",
        nursery=python_part("nursery", SLEEPER, folder),
        foundation=(python_part("base", SLEEPER, folder),),
        services=(python_part("launcher", SLEEPER, folder), python_part("two", SLEEPER, folder)),
        prepare=_nothing,
        stop_labs=_nothing,
        watch=_nothing,
    )
    return replace(plan, **changes)


def supervisor_of(state: StateFolder, plan: PlatformPlan, heard: Heard) -> Supervisor:
    return Supervisor(state=state, plan=plan, reporter=heard, children=Children(), began=time.monotonic())


async def ask(state: StateFolder, **request: object) -> list[dict[str, Any]]:
    return await asyncio.to_thread(lambda: list(control.ask(state.control_socket, **request)))


async def test_everything_comes_up_in_order_and_goes_down_when_asked(
    state: StateFolder, heard: Heard
) -> None:
    done: list[str] = []

    async def prepare(say: Say) -> None:
        done.append("prepared")
        assert ("base", "ready", "") in heard.changes
        assert not heard.states("two")
        say("databases prepared")

    async def stop_labs(say: Say) -> None:
        say("stopping 2 labs")

    plan = plan_of(state.logs, prepare=prepare, stop_labs=stop_labs, notices=("beware",))
    running = asyncio.create_task(supervisor_of(state, plan, heard).run())
    await until(lambda: heard.ready_at)
    assert done == ["prepared"]
    assert heard.lines == ["databases prepared", "beware"]

    [status] = await ask(state, command="status")
    assert status["ready"]
    assert status["pid"] == os.getpid()
    assert [part["name"] for part in status["parts"]] == ["base", "nursery", "launcher", "two"]
    pids = [part["pid"] for part in status["parts"]]
    assert all(part["memory_kib"] > 0 for part in status["parts"])
    assert {one.pid for one in RunningParts(state.run / "parts.json").read().values()} == set(pids)

    told = json.loads((state.run / "status.json").read_text())["parts"]
    assert [(part["name"], part["state"], part["pid"], part["restarts"]) for part in told] == [
        (name, "ready", pid, 0)
        for name, pid in zip(("base", "nursery", "launcher", "two"), pids, strict=True)
    ]

    answer = await ask(state, command="down")
    assert answer == [{"line": "stopping 2 labs"}, {"done": True}]
    assert await running == 0
    assert not (state.run / "status.json").exists()
    assert not any(exists(pid) for pid in pids)
    assert RunningParts(state.run / "parts.json").read() == {}
    assert not state.control_socket.exists()


async def test_labs_are_kept_when_asked(state: StateFolder, heard: Heard) -> None:
    async def stop_labs(_say: Say) -> None:
        raise AssertionError("labs were to be kept")

    running = asyncio.create_task(supervisor_of(state, plan_of(state.logs, stop_labs=stop_labs), heard).run())
    await until(lambda: heard.ready_at)
    assert await ask(state, command="down", keep_labs=True) == [{"done": True}]
    assert await running == 0


async def test_labs_that_cannot_be_stopped_do_not_keep_the_platform_up(
    state: StateFolder, heard: Heard
) -> None:
    async def stop_labs(_say: Say) -> None:
        raise StartFailedError("the launcher does not answer")

    running = asyncio.create_task(supervisor_of(state, plan_of(state.logs, stop_labs=stop_labs), heard).run())
    await until(lambda: heard.ready_at)
    [words, done] = await ask(state, command="down")
    assert words["line"].startswith("the launcher does not answer")
    assert done == {"done": True}
    assert await running == 0


async def test_a_failing_service_is_named_and_the_rest_lives(state: StateFolder, heard: Heard) -> None:
    async def silent() -> Answer:
        return SILENCE

    bad = python_part("two", "print('out of luck'); raise SystemExit(1)", state.logs, probe=silent)
    plan = plan_of(state.logs, services=(python_part("launcher", SLEEPER, state.logs), bad))
    running = asyncio.create_task(supervisor_of(state, plan, heard).run())
    await until(lambda: "two" in heard.failing_parts)
    assert heard.ready_at is None
    [status] = await ask(state, command="status")
    states = {part["name"]: part["state"] for part in status["parts"]}
    assert not status["ready"]
    assert states["launcher"] == "ready"
    await ask(state, command="down")
    assert await running == 0


async def test_without_its_foundation_nothing_starts(state: StateFolder, heard: Heard) -> None:
    async def silent() -> Answer:
        return SILENCE

    bad = python_part("base", "print('cannot bind'); raise SystemExit(1)", state.logs, probe=silent)
    status = await supervisor_of(state, plan_of(state.logs, foundation=(bad,)), heard).run()
    assert status == StartFailedError.exit_status
    assert heard.error is not None
    assert heard.error.code == "start_failed"
    assert "base ended with exit code 1" in str(heard.error)
    assert "cannot bind" in str(heard.error)
    assert not heard.states("two")


async def test_a_preparation_that_fails_is_one_line(state: StateFolder, heard: Heard) -> None:
    async def prepare(_say: Say) -> None:
        raise StartFailedError("foundation ended with exit code 1: disk full")

    status = await supervisor_of(state, plan_of(state.logs, prepare=prepare), heard).run()
    assert status == StartFailedError.exit_status
    assert heard.error is not None
    assert "disk full" in heard.error.line()


async def test_an_interrupt_ends_the_platform_and_leaves_labs(state: StateFolder, heard: Heard) -> None:
    async def stop_labs(_say: Say) -> None:
        raise AssertionError("labs live on")

    running = asyncio.create_task(supervisor_of(state, plan_of(state.logs, stop_labs=stop_labs), heard).run())
    await until(lambda: heard.ready_at)
    os.kill(os.getpid(), signal.SIGTERM)
    assert await running == 0


async def test_a_stop_in_the_middle_of_the_start_is_heard(state: StateFolder, heard: Heard) -> None:
    async def prepare(_say: Say) -> None:
        await asyncio.sleep(600)

    running = asyncio.create_task(supervisor_of(state, plan_of(state.logs, prepare=prepare), heard).run())
    await until(lambda: "ready" in heard.states("base"))
    await ask(state, command="down")
    assert await running == 0
    assert heard.ready_at is None


async def test_an_unknown_command_is_answered(state: StateFolder, heard: Heard) -> None:
    running = asyncio.create_task(supervisor_of(state, plan_of(state.logs), heard).run())
    await until(lambda: heard.ready_at)
    assert await ask(state, command="dance") == [{"error": "no such command: dance"}]
    await ask(state, command="down")
    await running
