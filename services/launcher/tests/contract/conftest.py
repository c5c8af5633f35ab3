"""One suite for all schedulers: each test runs on every target, each on fresh ground; counts stand at the end."""

import asyncio
import contextlib
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from datalabs_launcher.scheduler import JobState, LabJob, Observation, Scheduler, SchedulerAwayError
from datalabs_testing.waiting import eventually

from .container_target import ContainerTarget
from .nomad_targets import FakeNomadTarget, NomadDockerTarget, NomadQemuTarget, NomadRawExecTarget
from .process_target import ProcessTarget
from .target import LIVES, Does, Target, Unable
from .vm_target import VmTarget

TARGETS: list[type[Target]] = [
    ProcessTarget,
    ContainerTarget,
    VmTarget,
    FakeNomadTarget,
    NomadDockerTarget,
    NomadRawExecTarget,
    NomadQemuTarget,
]

NODE = re.compile(r"tests/contract/.*\[(?P<target>[a-z-]+)\]$")


class Try:
    """One test's target, with an adapter that is started and the jobs that were handed to it."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.adapters: list[Scheduler] = []
        self._watches: list[asyncio.Task[None]] = []

    @property
    def scheduler(self) -> Scheduler:
        """The newest adapter."""
        return self.adapters[-1]

    def needs(self, ability: str) -> None:
        """Skip the test where the target says that it cannot, and why."""
        if ability in self.target.lacks:
            pytest.skip(f"{self.target.name}: {self.target.lacks[ability]}")

    async def start(self) -> Scheduler:
        """Start another adapter."""
        adapter = self.target.adapter()
        await adapter.start()
        await self.target.warm(adapter)
        self.adapters.append(adapter)
        return adapter

    async def restart(self) -> Scheduler:
        """End the adapter and start another."""
        await self.adapters.pop().aclose()
        return await self.start()

    async def running(self, does: Does = LIVES, **changes: Any) -> LabJob:
        """Run a job until it runs."""
        job = self.target.job(does, **changes)
        await self.scheduler.submit(job)
        await self.until(job, JobState.RUNNING)
        await self.eventually(lambda: self.target.up(self.scheduler, job))
        return job

    async def ended(self, does: Does, **changes: Any) -> tuple[LabJob, Observation]:
        """Run a job to its end."""
        job = self.target.job(does, **changes)
        await self.scheduler.submit(job)
        return job, await self.until(job, JobState.ENDED)

    async def until(self, job: LabJob, *states: JobState) -> Observation:
        """Wait until a job is in a state."""
        seen: list[Observation | None] = []

        async def there() -> Observation | None:
            found = await self.scheduler.get(job.job_id)
            seen.append(found)
            assert found is not None, "the job is not there"
            if found.state is JobState.ENDED and JobState.ENDED not in states:
                raise AssertionError(f"it ended: {found.end}")
            return found if found.state in states else None

        try:
            return await self.eventually(there)
        except TimeoutError:
            raise AssertionError(f"it did not become {states}; now: {seen[-1]}") from None

    async def eventually(self, condition: Callable[[], Awaitable[Any]]) -> Any:
        """Return what the condition gives as soon as it holds."""
        return await eventually(condition, seconds=self.target.seconds, pause=0.03)

    def listen(self) -> list[Observation]:
        """Collect what is told from now on; subscribes anew when the scheduler was away."""
        heard: list[Observation] = []
        watch = self.scheduler.watch()

        async def collect() -> None:
            nonlocal watch
            while True:
                with contextlib.suppress(SchedulerAwayError):
                    async for seen in watch:
                        heard.append(seen)  # noqa: PERF401 - it never ends
                await asyncio.sleep(0.1)
                watch = self.scheduler.watch()

        self._watches.append(asyncio.create_task(collect()))
        return heard

    async def sweep(self) -> None:
        """End all that lives, and have it forgotten: what is kept of it would stay on this machine."""
        for watch in self._watches:
            watch.cancel()
        await asyncio.gather(*self._watches, return_exceptions=True)
        scheduler = self.scheduler if self.adapters else await self.start()
        await self.target.heal()
        [jobs] = await self.eventually(lambda: _listed(scheduler))
        for seen in jobs:
            if seen.state is not JobState.ENDED:
                await scheduler.stop(seen.job_id, grace=0)
        for seen in jobs:
            await self.eventually(lambda name=seen.job_id: _over(scheduler, name))
            await scheduler.purge(seen.job_id)
        for adapter in self.adapters:
            await adapter.aclose()


async def _listed(scheduler: Scheduler) -> list[list[Observation]]:
    with contextlib.suppress(SchedulerAwayError):
        return [await scheduler.jobs()]
    return []


async def _over(scheduler: Scheduler, job_id: str) -> bool:
    with contextlib.suppress(SchedulerAwayError):
        seen = await scheduler.get(job_id)
        return seen is None or seen.state is JobState.ENDED
    return False


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def grounds() -> AsyncIterator[Callable[[type[Target]], Awaitable[Any]]]:
    """Give each target's shared ground, made when it is first needed."""
    made: dict[Any, tuple[type[Target], Any]] = {}

    async def ground_of(kind: type[Target]) -> Any:
        key = kind.ground.__func__  # type: ignore[attr-defined] - targets that share the method share the ground
        if key not in made:
            made[key] = (kind, await kind.ground())
        return made[key][1]

    yield ground_of
    for kind, ground in made.values():
        await kind.raze(ground)


@pytest_asyncio.fixture(
    params=[
        pytest.param(kind, id=kind.name, marks=[getattr(pytest.mark, one) for one in kind.marks])
        for kind in TARGETS
    ]
)
async def lab(request: pytest.FixtureRequest, tmp_path: Path, grounds: Any) -> AsyncIterator[Try]:
    kind: type[Target] = request.param
    target = kind(tmp_path)
    try:
        await target.open(await grounds(kind))
    except Unable as error:
        pytest.fail(f"{kind.name} cannot be tried here: {error}", pytrace=False)
    made = Try(target)
    try:
        await made.start()
        yield made
        await made.sweep()
    finally:
        await target.close()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say for each target how its tests went."""
    counted: dict[str, Counter[str]] = {}
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.stats.get(outcome, []):
            found = NODE.search(report.nodeid)
            if found:
                counted.setdefault(found["target"], Counter())[outcome] += 1
    if counted:
        terminalreporter.section("contract of schedulers")
    for kind in TARGETS:
        if kind.name in counted:
            told = ", ".join(f"{number} {outcome}" for outcome, number in counted[kind.name].items())
            terminalreporter.write_line(f"{kind.name:15} {told}")
