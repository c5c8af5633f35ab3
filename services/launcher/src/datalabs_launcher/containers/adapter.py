"""Container labs on this machine's Docker engine: fills the port of `scheduler.py`.

Truth is in the engine and in the attempts' folders (`folders.py`); what is kept here is only a view of it. The job's id is
the container's name, so the engine itself keeps a job from running twice. While the engine is silent nothing is concluded.
"""

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Coroutine
from datetime import UTC, datetime
from pathlib import Path

import structlog

from datalabs_contracts.datalabs import EnvironmentSpecification, Runtime
from datalabs_contracts.labs import Capacity, Reason, Sample
from datalabs_launcher.containers import logs, observing
from datalabs_launcher.containers.config import ContainerSettings
from datalabs_launcher.containers.engine import Document, Engine, EngineRefusedError
from datalabs_launcher.containers.folders import About, Record, Records
from datalabs_launcher.containers.guard import Guard
from datalabs_launcher.containers.house import House
from datalabs_launcher.containers.measuring import Measuring
from datalabs_launcher.containers.specification import ATTEMPT_LABEL, JOB_LABEL, LAB_LABEL, labels_of
from datalabs_launcher.containers.stopping import Stopping
from datalabs_launcher.local import pacing
from datalabs_launcher.local.config import LocalSettings
from datalabs_launcher.local.news import Watchers
from datalabs_launcher.scheduler import (
    EnvironmentProgress,
    JobState,
    LabJob,
    Observation,
    SchedulerAwayError,
    SubmitRefusedError,
)

FIRST_LOOK = 5.0
"""How long a start of the platform waits for the engine; it goes on looking afterwards."""
LOOK_AGAIN = 5.0
AWAY = "The container engine of this machine does not answer."


class ContainerScheduler:
    """This machine's engine as a cluster."""

    def __init__(
        self,
        *,
        state_folder: Path,
        settings: LocalSettings,
        containers: ContainerSettings,
        api_address: str | None = None,
        api_port: int,
    ) -> None:
        """Run labs of the platform in `state_folder`; they reach its edge at `api_port`."""
        self._wanted = containers.containers
        self._engine = Engine(containers.engine_socket, timeout=containers.engine_timeout)
        self._house = House(
            engine=self._engine,
            state_folder=state_folder,
            settings=settings,
            containers=containers,
            api_address=api_address,
            api_port=api_port,
        )
        self._records = Records(self._house.layout.labs / ".containers")
        self._guard = Guard(settings, end=self._kill)
        self._stopping = Stopping(self._engine, over=self._refresh)
        self._watchers = Watchers()
        self._pace = pacing.Pace(
            cores=pacing.cores_here(), busy_seconds=settings.startup_seconds, now=time.monotonic
        )
        self._seen: dict[str, Observation] = {}
        self._submitting: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._accepting = asyncio.Lock()
        self._measuring = Measuring(self._engine, self._guard)
        self._up = False
        self._answered_once = False
        self._first = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._log = structlog.get_logger(__name__)

    # -- life ------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Look for the engine; without one the platform starts all the same, and goes on looking."""
        if not self._wanted:
            return
        await asyncio.to_thread(self._house.layout.make)
        await asyncio.to_thread(self._records.make)
        self._first.clear()
        self._begin(self._attend(), "container engine")
        self._begin(self._watch_over(), "container guard")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._first.wait(), FIRST_LOOK)

    def _begin(self, work: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        """Let go; labs live on. With none left the network and its rules go."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._stopping.aclose()
        self._watchers.close()
        if self._up and not self._records.all():
            with contextlib.suppress(SchedulerAwayError, EngineRefusedError, OSError):
                await self._house.leave()
        self._up = False
        self._engine.close()

    async def _watch_over(self) -> None:
        while True:
            try:
                await self._guard.run()
            except Exception:  # noqa: BLE001 - the edge of a loop
                self._log.exception("container.guard_failed")

    async def _attend(self) -> None:
        """Keep in touch with the engine; each time it is found all is compared, and watchers are told to do so too."""
        while True:
            try:
                await self._listen()
            except (SchedulerAwayError, EngineRefusedError) as error:
                if self._up:
                    self._log.warning("container.engine_away", reason=str(error))
            except Exception:  # noqa: BLE001 - the edge of a loop
                self._log.exception("container.attend_failed")
            was_up, self._up = self._up, False
            if was_up:
                self._watchers.close()
            self._first.set()
            await asyncio.sleep(LOOK_AGAIN if not was_up else 0.2)

    async def _listen(self) -> None:
        await self._house.prepare(labs=bool(await self._engine.list(self._house.label)))
        opened = asyncio.Event()
        stream = self._engine.events(self._house.label, opened=opened.set, tell=self._heard)
        try:
            waits = [asyncio.ensure_future(opened.wait()), asyncio.ensure_future(stream.over.wait())]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for one in waits:
                one.cancel()
            if opened.is_set():
                await self._compare()
                self._up = self._answered_once = True
                self._log.info("container.engine_found", platform=self._house.plan.name)
                self._first.set()
                await stream.over.wait()
        finally:
            stream.close()

    async def _compare(self) -> None:
        """Take all containers of this platform into view, those too whose folders are gone."""
        for name in await self._engine.list(self._house.label):
            record = self._records.of(name)
            if not record.accepted:
                container = await self._engine.inspect(name)
                if container is not None:
                    await asyncio.to_thread(record.accept, _about_from(container), {}, secret="", uid=0)
            if not record.created:
                record.note_created()
        for record in self._records.all():
            await self._refresh(record.job_id)

    def _heard(self, name: str) -> None:
        self._stopping.nudge(name)
        self._begin(self._refresh_quietly(name), f"refresh {name}")

    async def _refresh_quietly(self, name: str) -> None:
        with contextlib.suppress(SchedulerAwayError, EngineRefusedError):
            await self._refresh(name)

    async def _refresh(self, job_id: str) -> None:
        """Look at one job and tell of it when that is news."""
        record = self._records.of(job_id)
        if not record.accepted:
            return
        before = self._seen.get(job_id)
        seen = await self._look(record)
        if seen is not None and (before is None or (before.state, before.end) != (seen.state, seen.end)):
            self._watchers.tell(seen)

    async def _look(self, record: Record) -> Observation | None:
        """Return what is true of a job that was taken on; None when the engine was never asked to run it."""
        job_id = record.job_id
        known = self._seen.get(job_id)
        if known is not None and known.state is JobState.ENDED:
            return known
        container = await self._engine.inspect(job_id)
        if container is None and not record.created:
            return None
        asked = record.asked
        gone = datetime.fromtimestamp(record.gone_at(), tz=UTC) if container is None else None
        seen = observing.observation(
            record.about, container, record.evidence, asked=asked is not None, gone_at=gone
        )
        self._seen[job_id] = seen
        self._look_after(record, seen, container)
        if asked is not None and seen.state is not JobState.ENDED:
            self._stopping.begin(job_id, asked)
        return seen

    def _look_after(self, record: Record, seen: Observation, container: Document | None) -> None:
        if seen.state is JobState.RUNNING and container is not None:
            driver = container.get("GraphDriver") or {}
            layer = None if record.about.read_only else (driver.get("Data") or {}).get("UpperDir")
            self._guard.watch(record, pid=int(container["State"]["Pid"]), layer=layer)
        elif seen.state is JobState.ENDED:
            self._guard.drop(record.job_id)
            self._house.rest(record.about.address, seen.end.ended_at.timestamp() if seen.end else time.time())

    # -- what is here ----------------------------------------------------------------------------------------------

    def _silent(self) -> bool:
        """Return whether the engine should answer and does not: it did before, or labs may run on it."""
        return self._wanted and not self._up and (self._answered_once or bool(self._records.all()))

    async def runtimes(self) -> list[Runtime]:
        """Return what runs here; containers only when an engine answers."""
        if self._silent():
            raise SchedulerAwayError(AWAY)
        return [Runtime.CONTAINER] if self._up else []

    async def notices(self, runtime: Runtime) -> list[str]:
        """Return what a person should know before launching here."""
        return self._house.notices() if runtime is Runtime.CONTAINER and self._up else []

    async def refuses(self, runtime: Runtime, *, operator: bool) -> str | None:
        """Return why this person may not launch here."""
        if runtime is Runtime.CONTAINER and self._up and not operator and self._house.operators_only:
            return "Containers cannot be kept from this machine's own services, so only operators may launch them."
        return None

    async def capacity(self) -> Capacity:
        """Return the machine, the same that the process labs have, and what containers take of it."""
        if self._silent():
            raise SchedulerAwayError(AWAY)
        running = [
            self._records.of(seen.job_id).about
            for seen in self._seen.values()
            if seen.state is not JobState.ENDED
        ]
        return self._house.capacity(running, offered=[Runtime.CONTAINER] if self._up else [])

    async def may_start(self) -> bool:
        """Return whether there is CPU for another start right now."""
        return self._pace.may_start()

    async def prepare(
        self, specification: EnvironmentSpecification, runtime: Runtime
    ) -> AsyncIterator[EnvironmentProgress]:
        """Have a version's image here."""
        container = specification.runtimes.container
        if runtime is not Runtime.CONTAINER or container is None:
            text = "This engine runs containers only."
            yield EnvironmentProgress(ready=False, failed=True, fraction=0, text=text)
            return
        async for progress in self._house.images.prepare(container.image):
            yield progress

    # -- jobs ------------------------------------------------------------------------------------------------------

    async def submit(self, job: LabJob) -> Observation:
        """Run the job, once however often this is called."""
        if not self._up:
            raise SchedulerAwayError(AWAY)
        async with self._submitting[job.job_id]:
            return await self._submit(job)

    async def _submit(self, job: LabJob) -> Observation:
        if self._house.layout.was_purged(job.job_id):
            raise SubmitRefusedError("This attempt has run and was forgotten.")
        record = self._records.of(job.job_id)
        seen = await self._look(record) if record.accepted else None
        if seen is None:
            await self._create(job, record)
            seen = await self._look(record)
        if seen is not None and seen.state is JobState.PENDING and record.asked is None:
            self._pace.started()
            await self._start(record)
            seen = await self._look(record)
        if seen is None:  # removed by somebody between two calls
            raise SchedulerAwayError("The engine lost the container that it has just made.")
        self._watchers.tell(seen)
        return seen

    async def _create(self, job: LabJob, record: Record) -> None:
        """Have the engine make the container; one that is there already is ours or nobody's to touch."""
        async with self._accepting:  # what one lab was given, the next one sees taken
            running = [one.about for one in self._records.all() if self._lives(one)]
            document = await self._house.accept(job, record, running=running)
        try:
            await self._engine.create(job.job_id, document)
        except EngineRefusedError as refused:
            if not refused.conflict:
                record.remove()
                reason = Reason.VOLUME_UNAVAILABLE if "bind source" in str(refused) else Reason.LAUNCHER_ERROR
                raise SubmitRefusedError(
                    f"The container could not be made: {refused}", reason=reason
                ) from None
            await self._check(job)
        record.note_created()

    async def _check(self, job: LabJob) -> None:
        """Adopt the container that has the job's name, or refuse: it is somebody else's."""
        container = await self._engine.inspect(job.job_id)
        labels = (container or {}).get("Config", {}).get("Labels") or {}
        wanted = labels_of(job, self._house.plan.name)
        if container is not None and not wanted.items() <= labels.items():
            raise SubmitRefusedError(
                f"A container named {job.job_id} is here already, and it is not this lab."
            )

    async def _start(self, record: Record) -> None:
        try:
            await self._engine.start(record.job_id)
        except EngineRefusedError as refused:
            if record.asked is not None:
                return
            await self._engine.remove(record.job_id)
            self._house.layout.note_purged(record.job_id)
            record.remove()
            self._seen.pop(record.job_id, None)
            raise SubmitRefusedError(f"The container could not be started: {refused}") from None

    def _lives(self, record: Record) -> bool:
        seen = self._seen.get(record.job_id)
        return seen is None or seen.state is not JobState.ENDED

    async def stop(self, job_id: str, *, grace: float) -> None:
        """Ask the job to end, kill it after `grace` seconds; returns at once."""
        record = self._records.of(job_id)
        if not record.accepted or not self._lives(record):
            return
        deadline = time.time() + grace
        asked = record.asked
        record.ask(deadline if asked is None else min(asked, deadline))
        self._stopping.begin(job_id, deadline)

    async def _kill(self, job_id: str) -> None:
        """End a lab that is over a limit; the evidence is kept already."""
        await self._engine.signal(job_id, "SIGKILL")

    async def purge(self, job_id: str) -> None:
        """Forget an ended job; it can never be started again."""
        record = self._records.of(job_id)
        seen = await self.get(job_id)
        if seen is None or seen.state is not JobState.ENDED:
            return
        await self._engine.remove(job_id)
        self._house.layout.note_purged(job_id)
        await asyncio.to_thread(record.remove)
        self._seen.pop(job_id, None)
        self._measuring.forget(job_id)
        self._submitting.pop(job_id, None)

    async def get(self, job_id: str) -> Observation | None:
        """Return what is true of one job."""
        record = self._records.of(job_id)
        if not record.accepted:
            return None
        if not self._up:
            raise SchedulerAwayError(AWAY)
        return await self._look(record)

    async def jobs(self) -> list[Observation]:
        """Return all jobs of this platform."""
        records = self._records.all()
        if self._silent():
            raise SchedulerAwayError(AWAY)
        found = [await self._look(record) for record in records] if self._up else []
        return [seen for seen in found if seen is not None]

    def watch(self) -> AsyncIterator[Observation]:
        """Yield observations as things change; ends when the engine was out of sight."""
        return self._watchers.watch()

    # -- looking inside --------------------------------------------------------------------------------------------

    async def owns_listener(self, job_id: str) -> bool | None:
        """Its address is its own network's: whoever listens there is the lab."""
        return True if self._running(job_id) else None

    async def logs(self, job_id: str, *, lines: int) -> tuple[list[str], bool]:
        """Return the last log lines, and whether older ones exist."""
        if not self._records.of(job_id).accepted:
            return [], False
        return logs.rows(await self._engine.logs(job_id, lines=lines + 1), lines=lines)

    async def sample(self, job_id: str) -> Sample | None:
        """Return what the job uses now; cores since the last sample."""
        seen = self._running(job_id)
        return await self._measuring.sample(seen, self._records.of(job_id)) if seen else None

    async def active(self, job_id: str) -> bool | None:
        """Return whether the lab's CPU or its kernels say it is in use, since the last time this was asked."""
        seen = self._running(job_id)
        return await self._measuring.active(seen, self._records.of(job_id)) if seen else None

    def _running(self, job_id: str) -> Observation | None:
        seen = self._seen.get(job_id)
        return seen if seen is not None and seen.state is JobState.RUNNING else None


def _about_from(container: Document) -> About:
    """Return what can be told of a container of ours whose folder is gone."""
    labels = container["Config"]["Labels"]
    networks = container["NetworkSettings"]["Networks"].values()
    address = next((one["IPAMConfig"]["IPv4Address"] for one in networks if one.get("IPAMConfig")), "")
    return About(
        job_id=labels[JOB_LABEL],
        lab_id=labels[LAB_LABEL],
        attempt=int(labels[ATTEMPT_LABEL]),
        address=address,
        port=0,
        memory_mib=int(container["HostConfig"]["Memory"]) // 2**20,
    )
