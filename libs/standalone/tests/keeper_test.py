import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from datalabs_standalone.children import Children, how_it_ended
from datalabs_standalone.parts import CannotStartError, Keeper, PartPlan, PartState
from datalabs_standalone.probes import SILENCE, Answer
from datalabs_standalone.testing import SLEEPER, Heard, exists, python_part, until


@pytest.fixture
async def children() -> AsyncIterator[Children]:
    made = Children()
    made.watch()
    yield made
    made.close()


async def test_a_part_becomes_ready_and_ends_when_asked(
    tmp_path: Path, heard: Heard, children: Children
) -> None:
    keeper = Keeper(plan=python_part("p", SLEEPER, tmp_path), children=children, listener=heard)
    keeper.begin()
    await keeper.ready.wait()
    pid = keeper.status.pid
    assert pid is not None
    assert keeper.status.took is not None
    await keeper.end()
    assert heard.states("p")[-2:] == [PartState.STOPPING, PartState.STOPPED]
    assert not exists(pid)


async def test_a_part_that_is_killed_is_started_again(
    tmp_path: Path, heard: Heard, children: Children
) -> None:
    keeper = Keeper(plan=python_part("p", SLEEPER, tmp_path), children=children, listener=heard)
    keeper.begin()
    await keeper.ready.wait()
    first = keeper.status.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    await until(lambda: keeper.status.restarts == 1 and keeper.ready.is_set())
    assert keeper.status.pid != first
    assert ("p", PartState.RESTARTING, "was killed by SIGKILL") in heard.changes
    await keeper.end()


async def test_a_part_that_dies_at_once_again_and_again_is_named_with_its_last_lines(
    tmp_path: Path, heard: Heard, children: Children
) -> None:
    async def silent() -> Answer:
        return SILENCE

    (tmp_path / "p.log").write_text("a line of an earlier start\n")
    code = "print('no such table: labs'); raise SystemExit(4)"
    keeper = Keeper(plan=python_part("p", code, tmp_path, probe=silent), children=children, listener=heard)
    keeper.begin()
    await until(keeper.failing.is_set)
    assert keeper.status.state is PartState.FAILING
    assert keeper.status.text == "ended with exit code 4"
    assert set(heard.failing_parts["p"]) == {"no such table: labs"}
    restarts = keeper.status.restarts
    await until(lambda: keeper.status.restarts > restarts)
    await keeper.end()


async def test_a_part_that_recovers_is_no_longer_failing(
    tmp_path: Path, heard: Heard, children: Children
) -> None:
    async def there() -> Answer:
        return Answer(ready=(tmp_path / "ok").exists())

    code = f"import os, time; os.path.exists('{tmp_path}/ok') or os._exit(3); time.sleep(600)"
    keeper = Keeper(plan=python_part("p", code, tmp_path, probe=there), children=children, listener=heard)
    keeper.begin()
    await until(keeper.failing.is_set)
    (tmp_path / "ok").touch()
    await until(keeper.ready.is_set)
    assert keeper.status.state is PartState.READY
    assert not keeper.failing.is_set()
    await keeper.end()


async def test_a_part_that_cannot_be_started_is_retried_and_named(
    tmp_path: Path, heard: Heard, children: Children
) -> None:
    async def start() -> int:
        raise CannotStartError("cannot be imported: no module")

    base = python_part("p", SLEEPER, tmp_path)
    plan = PartPlan(name="p", start=start, probe=base.probe, log=base.log, policy=base.policy)
    keeper = Keeper(plan=plan, children=children, listener=heard)
    keeper.begin()
    await until(keeper.failing.is_set)
    assert keeper.status.text == "cannot be imported: no module"
    await keeper.end()


async def test_a_part_that_ignores_the_request_to_stop_is_killed(
    tmp_path: Path, heard: Heard, children: Children
) -> None:
    async def awake() -> Answer:
        return Answer(ready=(tmp_path / "awake").exists())

    code = f"import signal, time; signal.signal(15, signal.SIG_IGN); open('{tmp_path}/awake', 'w'); time.sleep(600)"
    plan = python_part("p", code, tmp_path, probe=awake, stop_within=0.1)
    keeper = Keeper(plan=plan, children=children, listener=heard)
    keeper.begin()
    await keeper.ready.wait()
    await keeper.end()
    assert keeper.status.state is PartState.STOPPED
    assert "was killed" in keeper.status.text


async def test_a_part_that_still_waits_to_be_started_can_be_ended(
    tmp_path: Path, heard: Heard, children: Children
) -> None:
    async def start() -> int:
        await asyncio.Event().wait()
        raise AssertionError

    base = python_part("p", SLEEPER, tmp_path)
    plan = PartPlan(name="p", start=start, probe=base.probe, log=base.log, stop_within=0.05)
    keeper = Keeper(plan=plan, children=children, listener=heard)
    keeper.begin()
    await until(lambda: heard.states("p"))
    await keeper.end()
    assert keeper.status.state is PartState.STOPPED


async def test_a_probe_that_breaks_does_not_end_the_keeping(
    tmp_path: Path, heard: Heard, children: Children
) -> None:
    answers = iter([IndexError("empty answer")])

    async def probe() -> Answer:
        for error in answers:
            raise error
        return Answer(ready=True)

    keeper = Keeper(plan=python_part("p", SLEEPER, tmp_path, probe=probe), children=children, listener=heard)
    keeper.begin()
    await keeper.ready.wait()
    await keeper.end()


async def test_the_words_of_a_part_that_is_not_ready_yet_are_shown(
    tmp_path: Path, heard: Heard, children: Children
) -> None:
    answers = [Answer(ready=False, text="database: migrating"), Answer(ready=True)]

    async def probe() -> Answer:
        return answers.pop(0) if len(answers) > 1 else answers[0]

    keeper = Keeper(plan=python_part("p", SLEEPER, tmp_path, probe=probe), children=children, listener=heard)
    keeper.begin()
    await keeper.ready.wait()
    assert ("p", PartState.STARTING, "database: migrating") in heard.changes
    await keeper.end()


@pytest.mark.parametrize(("code", "words"), [(0, "ended with exit code 0"), (-9, "was killed by SIGKILL")])
def test_ends_in_words(code: int, words: str) -> None:
    assert how_it_ended(code) == words


async def test_a_part_that_hangs_is_killed_and_started_again(
    tmp_path: Path, heard: Heard, children: Children
) -> None:
    stopped: set[int] = set()

    async def answers_unless_stopped() -> Answer:
        return SILENCE if keeper.status.pid in stopped else Answer(ready=True)

    plan = python_part("p", SLEEPER, tmp_path, probe=answers_unless_stopped, hung_after=0.3)
    keeper = Keeper(plan=plan, children=children, listener=heard, steady_probes_seconds=0.05)
    keeper.begin()
    await keeper.ready.wait()
    first = keeper.status.pid
    assert first is not None
    os.kill(first, signal.SIGSTOP)
    stopped.add(first)
    await until(lambda: keeper.status.restarts == 1 and keeper.ready.is_set())
    assert keeper.status.pid != first
    assert not exists(first)
    assert any(
        "did not answer for" in text for _, state, text in heard.changes if state is PartState.RESTARTING
    )
    await keeper.end()


async def test_a_part_that_answers_now_and_then_is_left_alone(
    tmp_path: Path, heard: Heard, children: Children
) -> None:
    asked = 0

    async def every_third() -> Answer:
        nonlocal asked
        asked += 1
        return Answer(ready=True) if asked % 3 == 1 else SILENCE

    plan = python_part("p", SLEEPER, tmp_path, probe=every_third, hung_after=0.01)
    keeper = Keeper(plan=plan, children=children, listener=heard, steady_probes_seconds=0.01)
    keeper.begin()
    await until(lambda: asked > 30)
    assert keeper.status.restarts == 0
    await keeper.end()


async def test_a_part_that_only_a_new_start_helps_is_started_anew(
    tmp_path: Path, heard: Heard, children: Children
) -> None:
    stuck = [False]

    async def answer() -> Answer:
        return Answer(ready=False, only_restart="could not write") if stuck[0] else Answer(ready=True)

    plan = python_part("p", SLEEPER, tmp_path, probe=answer)
    keeper = Keeper(plan=plan, children=children, listener=heard, steady_probes_seconds=0.01)
    keeper.begin()
    await keeper.ready.wait()
    first = keeper.status.pid
    stuck[0] = True
    await until(lambda: keeper.status.restarts >= 1)
    stuck[0] = False
    await until(keeper.ready.is_set)
    assert keeper.status.pid != first
    assert ("p", PartState.RESTARTING, "could not write") in heard.changes
    await keeper.end()
