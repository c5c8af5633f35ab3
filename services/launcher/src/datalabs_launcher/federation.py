"""Several schedulers as one: each runtime goes to the first member that offers it, each job stays where it runs.

Nothing is stored here: where a job is, its member knows. While a member that might have it is silent, nothing is
concluded about it, so no lab is ever started twice because one half of the site was out of sight.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import structlog

from datalabs_contracts.datalabs import EnvironmentSpecification, Runtime
from datalabs_contracts.labs import Capacity, Node, Sample
from datalabs_launcher.scheduler import (
    EnvironmentProgress,
    Keeper,
    LabJob,
    Observation,
    Scheduler,
    SchedulerAwayError,
    SubmitRefusedError,
)

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Member:
    """One scheduler by its name; `claims` are runtimes that are its own even before it has answered once."""

    name: str
    scheduler: Scheduler
    claims: tuple[Runtime, ...] = ()


class Federation:
    """Fills the port of `scheduler.py` with others that fill it, the preferred ones first."""

    def __init__(self, members: Sequence[Member]) -> None:
        self._members = list(members)
        self._offered: dict[str, list[Runtime]] = {one.name: list(one.claims) for one in members}
        self._homes: dict[str, Member] = {}
        self._log = structlog.get_logger(__name__)

    async def start(self) -> None:
        """Start all; a member that cannot start keeps its service from starting, one that is away does not."""
        await asyncio.gather(*(member.scheduler.start() for member in self._members))

    async def aclose(self) -> None:
        """Let go of all."""
        for member in reversed(self._members):
            await member.scheduler.aclose()

    # -- what is there ---------------------------------------------------------------------------------------------

    async def runtimes(self) -> list[Runtime]:
        """Return what all offer; what a silent member offered last stays, so that its labs wait."""
        found: list[Runtime] = []
        for member in self._members:
            found += [one for one in await self._runtimes_of(member) if one not in found]
        return found

    async def _runtimes_of(self, member: Member) -> list[Runtime]:
        with contextlib.suppress(SchedulerAwayError):
            self._offered[member.name] = await member.scheduler.runtimes()
        return self._offered[member.name]

    async def _member_for(self, runtime: Runtime) -> Member | None:
        for member in self._members:
            if runtime in await self._runtimes_of(member):
                return member
        return None

    async def notices(self, runtime: Runtime) -> list[str]:
        """Return what to know of that runtime where it would run."""
        member = await self._member_for(runtime)
        return await member.scheduler.notices(runtime) if member else []

    async def refuses(self, runtime: Runtime, *, operator: bool) -> str | None:
        """Return what the member says that would run it."""
        member = await self._member_for(runtime)
        return await member.scheduler.refuses(runtime, operator=operator) if member else None

    async def capacity(self) -> Capacity:
        """Return the sum; a machine that two members know by one name and cluster counts once.

        Raises `SchedulerAwayError` when none answers.
        """
        found: list[Capacity] = []
        away: list[str] = []
        for member in self._members:
            try:
                found.append(await member.scheduler.capacity())
            except SchedulerAwayError:
                away.append(member.name)
        if not found:
            raise SchedulerAwayError("No scheduler answers.")
        nodes = merged([node for one in found for node in one.nodes])
        return Capacity(
            cores=sum(node.cores for node in nodes),
            memory_mib=sum(node.memory_mib for node in nodes),
            cores_taken=sum(node.cores_taken for node in nodes),
            memory_taken_mib=sum(node.memory_taken_mib for node in nodes),
            queued=0,
            runtimes=list(dict.fromkeys(runtime for one in found for runtime in one.runtimes)),
            notices=list(dict.fromkeys(notice for one in found for notice in one.notices)),
            nodes=nodes,
            away=[*away, *(name for one in found for name in one.away)],
        )

    async def may_start(self) -> bool:
        """Return whether all that answer can start another lab now."""
        answers: list[bool] = []
        for member in self._members:
            with contextlib.suppress(SchedulerAwayError):
                answers.append(await member.scheduler.may_start())
        if not answers:
            raise SchedulerAwayError("No scheduler answers.")
        return all(answers)

    async def prepare(
        self, specification: EnvironmentSpecification, runtime: Runtime
    ) -> AsyncIterator[EnvironmentProgress]:
        """Make a version ready where it would run."""
        member = await self._member_for(runtime)
        if member is None:
            yield EnvironmentProgress(ready=False, failed=True, fraction=0, text="Nothing here can run it.")
            return
        async for progress in member.scheduler.prepare(specification, runtime):
            yield progress

    # -- jobs ------------------------------------------------------------------------------------------------------

    async def submit(self, job: LabJob) -> Observation:
        """Run the job where it runs already, else with the first member that offers its runtime."""
        member = await self._home(job.job_id) or await self._member_for(job.runtime)
        if member is None:
            raise SubmitRefusedError(f"Nothing on this site runs labs as {job.runtime}.")
        seen = await member.scheduler.submit(job)
        self._homes[job.job_id] = member
        return seen

    async def stop(self, job_id: str, *, grace: float) -> None:
        """Ask the job to end, wherever it runs."""
        member = await self._home(job_id)
        if member is not None:
            await member.scheduler.stop(job_id, grace=grace)

    async def purge(self, job_id: str) -> None:
        """Forget an ended job."""
        member = await self._home(job_id)
        if member is not None:
            await member.scheduler.purge(job_id)
        self._homes.pop(job_id, None)

    async def discard(self, lab_id: str) -> None:
        """Forget what any member keeps of a lab; a member that is away forgets it by its own bound."""
        for member in self._members:
            if isinstance(member.scheduler, Keeper):
                with contextlib.suppress(SchedulerAwayError):
                    await member.scheduler.discard(lab_id)

    async def get(self, job_id: str) -> Observation | None:
        """Return what is true of one job."""
        member = await self._home(job_id)
        return await member.scheduler.get(job_id) if member else None

    async def jobs(self) -> list[Observation]:
        """Return all jobs of all members.

        Raises `SchedulerAwayError` when one is silent: a list with a hole would look like labs that are gone.
        """
        found: list[Observation] = []
        homes: dict[str, Member] = {}
        for member in self._members:
            jobs = await member.scheduler.jobs()
            homes |= {seen.job_id: member for seen in jobs}
            found += jobs
        self._homes = homes
        return found

    async def _home(self, job_id: str) -> Member | None:
        """Return where a job runs; None when all members say that they have not got it.

        Raises `SchedulerAwayError` when none that answers has it and one is silent.
        """
        known = self._homes.get(job_id)
        if known is not None:
            return known
        silent: SchedulerAwayError | None = None
        for member in self._members:
            try:
                if await member.scheduler.get(job_id) is not None:
                    self._homes[job_id] = member
                    return member
            except SchedulerAwayError as error:
                silent = error
        if silent is not None:
            raise silent
        return None

    def watch(self) -> AsyncIterator[Observation]:
        """Yield observations of all members, from this call on.

        Ends or fails as soon as one does, so that the consumer compares all again.
        """
        return self._follow([(one, one.scheduler.watch()) for one in self._members])

    async def _follow(
        self, watches: list[tuple[Member, AsyncIterator[Observation]]]
    ) -> AsyncIterator[Observation]:
        news: asyncio.Queue[Observation | Exception | None] = asyncio.Queue()

        async def _listen(member: Member, watch: AsyncIterator[Observation]) -> None:
            try:
                async for seen in watch:
                    self._homes[seen.job_id] = member
                    news.put_nowait(seen)
                news.put_nowait(None)
            except Exception as error:  # noqa: BLE001 - handed to the consumer below
                news.put_nowait(error)

        tasks = [asyncio.create_task(_listen(*one), name=f"watch {one[0].name}") for one in watches]
        try:
            while True:
                seen = await news.get()
                if seen is None:
                    return
                if isinstance(seen, Exception):
                    raise seen
                yield seen
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    # -- looking inside --------------------------------------------------------------------------------------------

    async def owns_listener(self, job_id: str) -> bool | None:
        """Return whether the lab's own processes hold its socket."""
        return await self._asked(job_id, lambda one: one.owns_listener(job_id), None)

    async def logs(self, job_id: str, *, lines: int) -> tuple[list[str], bool]:
        """Return the last log lines."""
        nothing: tuple[list[str], bool] = ([], False)
        return await self._asked(job_id, lambda one: one.logs(job_id, lines=lines), nothing)

    async def sample(self, job_id: str) -> Sample | None:
        """Return what the job uses now."""
        return await self._asked(job_id, lambda one: one.sample(job_id), None)

    async def active(self, job_id: str) -> bool | None:
        """Return whether the job is in use."""
        return await self._asked(job_id, lambda one: one.active(job_id), None)

    async def _asked(
        self, job_id: str, ask: Callable[[Scheduler], Awaitable[Answer]], otherwise: Answer
    ) -> Answer:
        member = await self._home(job_id)
        return await ask(member.scheduler) if member else otherwise


def merged(nodes: Sequence[Node]) -> list[Node]:
    """Return each machine once: the whole is the same whoever counts it, what is taken adds up."""
    found: dict[tuple[str, str], Node] = {}
    for node in nodes:
        key = (node.cluster, node.name)
        before = found.get(key)
        if before is None:
            found[key] = node
            continue
        found[key] = before.model_copy(
            update={
                "runtimes": list(dict.fromkeys([*before.runtimes, *node.runtimes])),
                "cores": max(before.cores, node.cores),
                "memory_mib": max(before.memory_mib, node.memory_mib),
                "disk_mib": max(before.disk_mib, node.disk_mib),
                "gpus": {**before.gpus, **node.gpus},
                "cores_taken": before.cores_taken + node.cores_taken,
                "memory_taken_mib": before.memory_taken_mib + node.memory_taken_mib,
                "disk_taken_mib": before.disk_taken_mib + node.disk_taken_mib,
                "gpus_taken": {**before.gpus_taken, **node.gpus_taken},
                "labs": before.labs + node.labs,
            }
        )
    return list(found.values())
