# ruff: noqa: ARG002 - a fake has the whole signature of what it stands for
"""A cluster that lives in the test: stateful, with sockets that answer, and bad variants by name."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from datalabs_contracts.datalabs import EnvironmentSpecification, Runtime
from datalabs_contracts.labs import Capacity, Node, Reason, Sample
from datalabs_launcher.scheduler import (
    EnvironmentProgress,
    JobEnd,
    JobState,
    LabJob,
    Observation,
    SchedulerAwayError,
    Step,
    SubmitRefusedError,
)

LINES = ["starting", "listening"]


@dataclass
class FakeJob:
    """One job and the socket that its lab listens on."""

    job: LabJob
    seen: Observation
    server: asyncio.Server | None = None
    lines: list[str] = field(default_factory=lambda: list(LINES))
    status: int = 200


class FakeScheduler:
    """Runs jobs at once; every lab answers 200 to whoever brings its secret."""

    def __init__(self, now: Callable[[], datetime] | None = None) -> None:
        self.now = now or (lambda: datetime.now(UTC))
        self.fakes: dict[str, FakeJob] = {}
        self.starts: Counter[str] = Counter()
        self.stops: Counter[str] = Counter()
        self.graces: dict[str, float] = {}
        self.away = False
        self.cores, self.memory_mib = 32.0, 24_576
        self.nodes: list[Node] = []
        self.silent: list[str] = []
        self.offered = [Runtime.PROCESS]
        self.refusal: str | None = None
        self.environments: dict[str, list[EnvironmentProgress]] = {}
        self.prepared: list[str] = []
        self.gates: dict[str, asyncio.Event] = {}
        self.startable = True
        self.used: bool | None = True
        self.owned: bool | None = True
        self._queues: list[asyncio.Queue[Observation]] = []
        self._servers: list[asyncio.Server] = []

    # what a test does to the cluster

    def lose_news(self) -> None:
        """Watchers hear nothing until they subscribe again."""
        self._queues.clear()

    def end(
        self,
        lab_id: str,
        *,
        exit_code: int | None = 0,
        signal: int | None = None,
        at: datetime | None = None,
        **evidence: Any,
    ) -> None:
        """Let the newest job of a lab end by itself."""
        fake = self.newest(lab_id)
        end = JobEnd(ended_at=at or self.now(), exit_code=exit_code, signal=signal, **evidence)
        self._close(fake)
        self._see(replace(fake.seen, state=JobState.ENDED, end=end))

    def lose_node(self, lab_id: str) -> None:
        """Nothing is heard of the lab's machine."""
        self._see(replace(self.newest(lab_id).seen, state=JobState.UNKNOWN))

    def find_node(self, lab_id: str) -> None:
        """The machine is back."""
        self._see(replace(self.newest(lab_id).seen, state=JobState.RUNNING))

    def newest(self, lab_id: str) -> FakeJob:
        """The newest job of a lab."""
        return [fake for fake in self.fakes.values() if fake.job.lab_id == lab_id][-1]

    def running(self) -> list[str]:
        """Ids of all labs that run."""
        return [fake.job.lab_id for fake in self.fakes.values() if fake.seen.state is JobState.RUNNING]

    async def close_all(self) -> None:
        """Close all sockets at a test's end."""
        for server in self._servers:
            server.close()
            await server.wait_closed()

    # the port

    async def start(self) -> None:
        pass

    async def aclose(self) -> None:
        pass

    async def runtimes(self) -> list[Runtime]:
        self._check()
        return self.offered

    async def notices(self, runtime: Runtime) -> list[str]:
        self._check()
        return [f"{runtime} labs share this machine"]

    async def refuses(self, runtime: Runtime, *, operator: bool) -> str | None:
        self._check()
        return None if operator else self.refusal

    async def capacity(self) -> Capacity:
        self._check()
        return Capacity(
            cores=self.cores,
            memory_mib=self.memory_mib,
            cores_taken=0,
            memory_taken_mib=0,
            queued=0,
            runtimes=self.offered,
            nodes=[self._node(node) for node in self.nodes],
            away=self.silent,
        )

    def _node(self, node: Node) -> Node:
        """A machine with what runs on it now, on top of what the test says that others have there."""
        here = [
            fake.job
            for fake in self.fakes.values()
            if fake.seen.node == node.name and fake.seen.state is not JobState.ENDED
        ]
        return node.model_copy(
            update={
                "cores_taken": node.cores_taken + sum(job.cores for job in here),
                "memory_taken_mib": node.memory_taken_mib + sum(job.memory_mib for job in here),
                "disk_taken_mib": node.disk_taken_mib + sum(job.disk_mib for job in here),
                "labs": len(here),
            }
        )

    async def may_start(self) -> bool:
        self._check()
        return self.startable

    async def prepare(
        self, specification: EnvironmentSpecification, runtime: Runtime
    ) -> AsyncIterator[EnvironmentProgress]:
        self._check()
        datalab = specification.datalab
        self.prepared.append(datalab)
        for progress in self.environments.get(
            datalab, [EnvironmentProgress(ready=True, fraction=1.0, text="Ready")]
        ):
            yield progress
            gate = self.gates.get(datalab)
            if gate is not None and not progress.ready and not progress.failed:
                await gate.wait()
                gate.clear()

    async def submit(self, job: LabJob) -> Observation:
        self._check()
        known = self.fakes.get(job.job_id)
        if known is not None:
            return known.seen
        return await self._start(job)

    async def stop(self, job_id: str, *, grace: float) -> None:
        self._check()
        self.stops[job_id] += 1
        self.graces[job_id] = grace
        fake = self.fakes.get(job_id)
        if fake is None or fake.seen.state is JobState.ENDED:
            return
        self._stopped(fake)

    def _stopped(self, fake: FakeJob) -> None:
        self._close(fake)
        end = JobEnd(ended_at=self.now(), exit_code=0, asked=True)
        self._see(replace(fake.seen, state=JobState.ENDED, end=end))

    async def purge(self, job_id: str) -> None:
        self._check()
        self.fakes.pop(job_id, None)

    async def get(self, job_id: str) -> Observation | None:
        self._check()
        fake = self.fakes.get(job_id)
        return fake.seen if fake else None

    async def jobs(self) -> list[Observation]:
        self._check()
        return [fake.seen for fake in self.fakes.values()]

    async def watch(self) -> AsyncIterator[Observation]:
        self._check()
        queue: asyncio.Queue[Observation] = asyncio.Queue()
        self._queues.append(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            with contextlib.suppress(ValueError):
                self._queues.remove(queue)

    async def owns_listener(self, job_id: str) -> bool | None:
        self._check()
        return self.owned

    async def logs(self, job_id: str, *, lines: int) -> tuple[list[str], bool]:
        self._check()
        found = self.fakes[job_id].lines if job_id in self.fakes else []
        return found[-lines:], len(found) > lines

    async def sample(self, job_id: str) -> Sample | None:
        self._check()
        fake = self.fakes.get(job_id)
        if fake is None:
            return None
        return Sample(
            lab_id=fake.job.lab_id,
            at=self.now(),
            cores=0.25,
            memory_mib=100,
            max_cores=fake.job.cores,
            max_memory_mib=fake.job.memory_mib,
        )

    async def active(self, job_id: str) -> bool | None:
        self._check()
        return self.used

    # inside

    def _check(self) -> None:
        if self.away:
            raise SchedulerAwayError("the test took it away")

    async def _start(self, job: LabJob) -> Observation:
        self.starts[job.job_id] += 1
        now = self.now()
        fake = FakeJob(
            job=job,
            seen=Observation(
                job_id=job.job_id,
                lab_id=job.lab_id,
                attempt=job.attempt,
                state=JobState.RUNNING,
                steps=(Step(name="sandbox", started_at=now, ended_at=now, text="Made its place"),),
                started_at=now,
                node=job.node if self.nodes else "here",
            ),
        )
        self.fakes[job.job_id] = fake
        await self._listen(fake)
        self._see(fake.seen)
        return fake.seen

    async def _listen(self, fake: FakeJob) -> None:
        if fake.job.batch:
            return

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                request = (await reader.readuntil(b"\r\n\r\n")).decode()
                secret = f"X-Lab-Secret: {fake.job.lab_secret}\r\n"
                status = fake.status if secret in request else 403
                writer.write(f"HTTP/1.1 {status} Fine\r\nContent-Length: 0\r\n\r\n".encode())
                await writer.drain()
            writer.close()

        fake.server = await asyncio.start_server(answer, "127.0.0.1", 0)
        self._servers.append(fake.server)
        port = fake.server.sockets[0].getsockname()[1]
        fake.seen = replace(fake.seen, address="127.0.0.1", port=port)

    def _close(self, fake: FakeJob) -> None:
        if fake.server is not None:
            fake.server.close()

    def _see(self, seen: Observation) -> None:
        self.fakes[seen.job_id].seen = seen
        for queue in self._queues:
            queue.put_nowait(seen)


class NeverStarts(FakeScheduler):
    """Takes jobs and leaves them pending."""

    async def _start(self, job: LabJob) -> Observation:
        self.starts[job.job_id] += 1
        seen = Observation(job_id=job.job_id, lab_id=job.lab_id, attempt=job.attempt, state=JobState.PENDING)
        self.fakes[job.job_id] = FakeJob(job=job, seen=seen)
        return seen


class NeverAnswers(FakeScheduler):
    """Its labs run and listen, and say 503 to everybody."""

    async def _start(self, job: LabJob) -> Observation:
        seen = await super()._start(job)
        self.fakes[job.job_id].status = 503
        self.fakes[job.job_id].lines = [f"line {number}" for number in range(300)]
        return seen


class LosesReply(FakeScheduler):
    """Starts the job, and the first reply to each submission is lost."""

    async def submit(self, job: LabJob) -> Observation:
        known = job.job_id in self.fakes
        seen = await super().submit(job)
        if not known:
            raise SchedulerAwayError("the reply was lost")
        return seen


class SlowScheduler(FakeScheduler):
    """Takes its time with a submission: until the test says so."""

    def __init__(self, now: Callable[[], datetime] | None = None) -> None:
        super().__init__(now)
        self.submitting = asyncio.Event()
        self.go = asyncio.Event()

    async def submit(self, job: LabJob) -> Observation:
        self.submitting.set()
        await self.go.wait()
        return await super().submit(job)


class Refuses(FakeScheduler):
    """Never takes a job."""

    async def submit(self, job: LabJob) -> Observation:
        self.starts[job.job_id] += 1
        raise SubmitRefusedError("its environment is broken", reason=Reason.IMAGE_UNAVAILABLE)


class Breaks(FakeScheduler):
    """Has a bug."""

    async def submit(self, job: LabJob) -> Observation:
        raise ZeroDivisionError("a bug")


class IgnoresStop(FakeScheduler):
    """Its labs ignore a polite request; only a kill (no grace left) ends them."""

    async def stop(self, job_id: str, *, grace: float) -> None:
        if grace > 0:
            self.stops[job_id] += 1
            return
        await super().stop(job_id, grace=grace)


class CrashesAtOnce(FakeScheduler):
    """Its labs end as soon as they are started."""

    async def _start(self, job: LabJob) -> Observation:
        await super()._start(job)
        self.fakes[job.job_id].lines = ["Traceback", "ImportError: nothing there"]
        self.end(job.lab_id, exit_code=3)
        return self.fakes[job.job_id].seen
