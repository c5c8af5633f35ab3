"""Two launchers on one database: one follows the cluster, and whatever happens to it nothing is doubled or lost."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from datalabs_contracts.labs import Interest, LabState, LaunchBody, LaunchLab, Reason

from .conftest import ADA, MakeRig, Rig
from .fake_scheduler import FakeScheduler

pytestmark = [  # a launcher that was killed leaves its connections to the collector, as a process to the system
    pytest.mark.filterwarnings("ignore:The garbage collector is trying:sqlalchemy.exc.SAWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
READY, STOPPED, FAILED = LabState.READY, LabState.STOPPED, LabState.FAILED
MOVES_WITHIN = 5.0


class Stoppable:
    """Hands of one launcher on something that all share; while it is stopped they touch nothing, as under SIGSTOP."""

    def __init__(self, inner: Any, runs: asyncio.Event) -> None:
        self._inner = inner
        self._runs = runs

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name in {"transaction", "reading"}:
            return self._session(found)
        if name == "direct":
            return lambda: Stoppable(found(), self._runs)
        if asyncio.iscoroutinefunction(found):
            return self._call(found)
        if name in {"watch", "listen"}:
            return lambda *given: self._iterate(found(*given))
        return found

    def _call(self, work: Any) -> Any:
        async def call(*given: Any, **named: Any) -> Any:
            await self._runs.wait()
            answer = await work(*given, **named)
            await self._runs.wait()
            return answer

        return call

    def _session(self, work: Any) -> Any:
        @contextlib.asynccontextmanager
        async def session() -> AsyncIterator[Any]:
            await self._runs.wait()
            async with work() as made:
                yield made

        return session

    async def _iterate(self, source: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for item in source:
            await self._runs.wait()
            yield item


class Crowd:
    """Launchers by name, each of which can be stopped and go on."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.runs: dict[str, asyncio.Event] = {}

    async def start(self, name: str) -> None:
        runs = self.runs[name] = asyncio.Event()
        runs.set()
        await self.rig.start(
            instance=name,
            lease=1.5,
            claim=2,
            poll=0.1,
            stop_repeat=0.05,
            reconcile=2,
            database=Stoppable(self.rig.database, runs),
            scheduler=Stoppable(self.rig.scheduler, runs),
        )

    def leader(self) -> str | None:
        """Who leads and runs."""
        for instance in self.rig.instances:
            name = instance.launcher.settings.instance
            if name in self.runs and self.runs[name].is_set() and instance.launcher.lease.held:
                return str(name)
        return None

    async def led(self) -> str:
        """Wait for a leader; nobody may lead too late."""
        began = time.monotonic()

        async def there() -> str | None:
            return self.leader()

        name: str = await self.rig.eventually(there)
        assert time.monotonic() - began < MOVES_WITHIN
        return name

    async def kill(self, name: str) -> None:
        for instance in list(self.rig.instances):
            if instance.launcher.settings.instance == name:
                self.runs.pop(name)
                self.rig.instances.remove(instance)
                await instance.kill()


@pytest.fixture
async def crowd(make_rig: MakeRig) -> AsyncIterator[Crowd]:
    rig = await make_rig(FakeScheduler())
    await rig.instances.pop().close()
    crowd = Crowd(rig)
    await crowd.start("a")
    await crowd.start("b")
    yield crowd
    for runs in crowd.runs.values():
        runs.set()


def leads(crowd: Crowd) -> int:
    return sum(instance.launcher.lease.held for instance in crowd.rig.instances)


async def test_one_leads_and_both_serve(crowd: Crowd) -> None:
    await crowd.led()
    assert leads(crowd) == 1
    for instance in crowd.rig.instances:
        record = await instance.launcher.launches.launch(
            LaunchLab(body=LaunchBody(datalab="stub")), ADA, None
        )
        await crowd.rig.until(record.id, READY)
    assert set(crowd.rig.scheduler.starts.values()) == {1}
    assert len(crowd.rig.scheduler._queues) == 1, "one follows the cluster's news"


async def test_news_reach_labs_that_the_other_instance_began(crowd: Crowd) -> None:
    leader = await crowd.led()
    other = next(one.launcher for one in crowd.rig.instances if one.launcher.settings.instance != leader)
    crowd.rig.instances.sort(key=lambda one: one.launcher is other)
    record = await crowd.rig.launch()
    await crowd.rig.until(record.id, READY)
    crowd.rig.scheduler.end(record.id, exit_code=7)
    ended = await crowd.rig.until(record.id, FAILED)
    assert (ended.reason, ended.exit_code) == (Reason.CRASHED, 7)


async def test_only_who_leads_measures(crowd: Crowd) -> None:
    record = await crowd.rig.until((await crowd.rig.launch()).id, READY)
    await crowd.led()
    for instance in crowd.rig.instances:
        await instance.launcher.samples.interest(Interest(labs=[record.id]).model_dump_json().encode())

    async def measured() -> bool:
        return bool(crowd.rig.published)

    await crowd.rig.eventually(measured)  # interest wakes the leader's own loop
    before = len(crowd.rig.published)
    for instance in crowd.rig.instances:
        await instance.launcher.samples.measure()
    assert len(crowd.rig.published) == before + 1


async def test_a_stopped_leader_is_followed_soon_and_does_no_harm_when_it_wakes(crowd: Crowd) -> None:
    first = await crowd.led()
    crowd.rig.instances.sort(key=lambda one: one.launcher.settings.instance == first)
    record = await crowd.rig.until((await crowd.rig.launch()).id, READY)
    crowd.runs[first].clear()
    began = time.monotonic()
    second = await crowd.led()
    assert second != first
    assert time.monotonic() - began < MOVES_WITHIN
    crowd.rig.scheduler.end(record.id, exit_code=None, signal=9, out_of_memory=True)
    ended = await crowd.rig.until(record.id, FAILED)
    assert ended.reason is Reason.OUT_OF_MEMORY
    crowd.runs[first].set()
    await asyncio.sleep(0.3)
    assert leads(crowd) == 1
    assert (await crowd.rig.facts(record.id)).count("failed") == 1


async def test_the_leader_dies_or_stops_twenty_times_under_load(crowd: Crowd) -> None:
    rig = crowd.rig
    names = iter(f"later-{number}" for number in range(99))
    launched: list[str] = []
    for number in range(20):
        leader = await crowd.led()
        rig.instances.sort(key=lambda one, leader=leader: one.launcher.settings.instance == leader)
        launched += [(await rig.launch(key=f"{number}-{each}")).id for each in range(3)]
        if launched[3:]:
            await rig.launcher.wishes.stop(await rig.lab(launched[-4]), Reason.STOPPED_BY_USER, actor="ada")
        if number % 4 == 3:
            crowd.runs[leader].clear()
            await crowd.led()
            crowd.runs[leader].set()
        else:
            await crowd.kill(leader)
            await crowd.start(next(names))
    for lab_id in launched:
        record = await rig.until(lab_id, READY, STOPPED)
        if record.state is READY:
            await rig.launcher.wishes.stop(record, Reason.STOPPED_BY_USER, actor="ada")
    for lab_id in launched:
        await rig.until(lab_id, STOPPED)
    facts = Counter(await rig.facts())
    assert set(rig.scheduler.starts.values()) <= {1}
    assert facts["queued"] == facts["stopped"] == len(launched)
    assert rig.scheduler.running() == []
