"""Makes versions' environments ready ahead of their first launch: smallest first, wanted ones at once."""

import asyncio
import contextlib
import contextvars
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from datalabs_contracts.datalabs import EnvironmentSpecification, ReadinessFact, ReadinessState, Runtimes
from datalabs_contracts.events import ENVIRONMENT_CHANGED
from datalabs_launcher.models import EnvironmentRecord
from datalabs_launcher.neighbours import Neighbours
from datalabs_launcher.placement import choose_runtime
from datalabs_launcher.scheduler import EnvironmentProgress, Scheduler, SchedulerAwayError
from datalabs_launcher.store import environments as store
from datalabs_runtime.clock import Clock
from datalabs_runtime.consuming import AWAY
from datalabs_runtime.database import Database
from datalabs_runtime.outbox import Outbox

QUICK_SECONDS = 0.1
"""An environment that is there already says so within this time, so that a launch need not be woken for it."""
TELL_SECONDS = 0.5
"""Progress is stored and told at most so often."""
GRACE_SECONDS = 0.5
"""How long the end waits for what is just being stored."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds before what failed for the lack of a neighbour, or of the database, is tried again."""
PLATFORM = "platform"
Key = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """How far an environment is, as a launch needs to know it."""

    ready: bool
    failed: bool = False
    fraction: float = 0.0
    text: str = ""
    at: datetime


def weight(specification: EnvironmentSpecification) -> int:
    """Return how much there is to prepare, for the order: the number of requirements of the process runtime."""
    process = specification.runtimes.process
    return len(process.requirements) if process else 0


class Environments:
    """Readiness of all versions; a part that prepares in the background."""

    name = "environments"

    def __init__(
        self,
        *,
        database: Database,
        outbox: Outbox,
        scheduler: Scheduler,
        neighbours: Neighbours,
        clock: Clock,
        wake: Callable[[str], None],
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._scheduler = scheduler
        self._neighbours = neighbours
        self._clock = clock
        self._wake = wake
        self._states: dict[Key, Prepared] = {}
        self._lanes: dict[Key, asyncio.Task[None]] = {}
        self._waiting: defaultdict[Key, set[str]] = defaultdict(set)
        self._refresh = asyncio.Event()
        self._storing = asyncio.Lock()
        self._closed = False
        self._worker: asyncio.Task[None] | None = None
        self._log = structlog.get_logger(__name__)

    async def start(self) -> None:
        """Begin in the background."""
        self._refresh.set()
        self._worker = asyncio.create_task(self._work(), name="environments")

    async def aclose(self) -> None:
        """Stop preparing; what was made stays."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE_SECONDS), self._storing:
                self._closed = True
        tasks = [*self._lanes.values(), *([self._worker] if self._worker else [])]
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._lanes.clear()

    def refresh(self) -> None:
        """Look at the catalogue again: something was published or withdrawn."""
        self._refresh.set()

    async def ensure(
        self, specification: EnvironmentSpecification, *, lab_id: str, since: datetime
    ) -> Prepared:
        """Return how far a version is for a launch; the lab is woken when that changes.

        A wanted environment is prepared at once, beside the one in the background. One that failed before `since`
        is tried again.
        """
        key = (specification.datalab, specification.version)
        known = self._states.get(key)
        if known is not None and known.ready:
            return known
        if known is not None and known.failed and known.at > since:
            return known
        self._waiting[key].add(lab_id)
        lane = self._lane(specification)
        await asyncio.wait({lane}, timeout=QUICK_SECONDS)
        now = self._states.get(key) or Prepared(ready=False, text="Waiting", at=self._clock.now())
        if now.ready or now.failed:
            self._waiting[key].discard(lab_id)
        return now

    def is_ready(self, datalab: str, version: str) -> bool:
        """Return whether a launch would find a version prepared."""
        known = self._states.get((datalab, version))
        return known is not None and known.ready

    def distrust(self, datalab: str, version: str) -> None:
        """Look again before the next launch: the scheduler refused to use what was thought to be ready."""
        self._states.pop((datalab, version), None)

    def _lane(self, specification: EnvironmentSpecification) -> asyncio.Task[None]:
        key = (specification.datalab, specification.version)
        lane = self._lanes.get(key)
        if lane is None or lane.done():
            lane = asyncio.get_running_loop().create_task(
                self._prepare(specification), name=f"environment {key[0]}", context=contextvars.Context()
            )
            self._lanes[key] = lane
        return lane

    async def _work(self) -> None:
        pause = FIRST_PAUSE
        while True:
            await self._refresh.wait()
            self._refresh.clear()
            try:
                await self._prepare_all()
                pause = FIRST_PAUSE
            except Exception:  # noqa: BLE001 - the edge of a loop; the catalogue may still be starting
                self._log.info("environments.try_again", exc_info=True)
                self._refresh.set()
                await self._clock.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)

    async def _prepare_all(self) -> None:
        found = await self._neighbours.environments()
        keys = [(item.datalab, item.version) for item in found]
        async with self._storing, self._database.transaction() as session:
            known = {(record.datalab, record.version): record for record in await store.every(session)}
            await store.withdraw_others(session, keys)
        for item in sorted(found, key=weight):
            key = (item.datalab, item.version)
            before = known.get(key)
            if before is None or before.specification != item:
                self._states.pop(key, None)
                await self._store(item, ReadinessState.WAITING, Prepared(ready=False, at=self._clock.now()))
        for item in sorted(found, key=weight):
            if self._refresh.is_set():
                return
            state = self._states.get((item.datalab, item.version))
            if state is None or not state.ready:
                await asyncio.wait({self._lane(item)})

    async def _prepare(self, specification: EnvironmentSpecification) -> None:
        key = (specification.datalab, specification.version)
        try:
            last = await self._follow(specification)
        except SchedulerAwayError:
            last = Prepared(
                ready=False, text="The cluster does not answer; trying again", at=self._clock.now()
            )
        except Exception as error:  # noqa: BLE001 - whatever it was, launches must hear that it failed
            self._log.exception("environment.failed", datalab=key[0], version=key[1])
            last = Prepared(ready=False, failed=True, text=str(error), at=self._clock.now())
        self._states[key] = last
        self._tell(key)
        state = await self._readiness(specification.runtimes, last)
        pause = FIRST_PAUSE
        while not await self._noted(specification, state, last):
            # Launches go by the state in memory; everybody else hears of it when the database is back.
            await self._clock.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _noted(
        self, specification: EnvironmentSpecification, state: ReadinessState, prepared: Prepared
    ) -> bool:
        """Store how a version stands; False while the database is away, which is no fault of the version."""
        about = {"datalab": specification.datalab, "version": specification.version}
        try:
            await self._store(specification, state, prepared)
        except AWAY as error:
            self._log.info("environment.not_stored", reason=type(error).__name__, **about)
            return False
        except Exception:  # noqa: BLE001 - it is reported; launches go by the state in memory
            self._log.exception("environment.not_stored", **about)
        return True

    async def _readiness(self, runtimes: Runtimes, last: Prepared) -> ReadinessState:
        if last.ready:
            return ReadinessState.READY
        try:
            nowhere = choose_runtime(runtimes, await self._scheduler.runtimes()) is None
        except SchedulerAwayError:
            return ReadinessState.WAITING
        if nowhere:
            return ReadinessState.UNAVAILABLE
        return ReadinessState.FAILED if last.failed else ReadinessState.WAITING

    async def _follow(self, specification: EnvironmentSpecification) -> Prepared:
        """Prepare a version and return how that ended, telling of progress on the way."""
        key = (specification.datalab, specification.version)
        runtime = choose_runtime(specification.runtimes, await self._scheduler.runtimes())
        if runtime is None:
            return Prepared(
                ready=False, failed=True, text="Nothing on this site can run it.", at=self._clock.now()
            )
        told: datetime | None = None
        last = Prepared(ready=False, failed=True, text="It was not prepared.", at=self._clock.now())
        async for progress in self._scheduler.prepare(specification, runtime):
            last = self._prepared(progress)
            self._states[key] = last
            if progress.ready or progress.failed:
                return last
            if told is None or (last.at - told).total_seconds() >= TELL_SECONDS:
                told = last.at
                await self._noted(specification, ReadinessState.PREPARING, last)
                self._tell(key)
        return last if last.ready else replace(last, failed=True)

    def _prepared(self, progress: EnvironmentProgress) -> Prepared:
        return Prepared(
            ready=progress.ready,
            failed=progress.failed,
            fraction=min(1.0, max(0.0, progress.fraction)),
            text=progress.text,
            at=self._clock.now(),
        )

    def _tell(self, key: Key) -> None:
        state = self._states.get(key)
        waiting = self._waiting[key]
        for lab_id in list(waiting):
            self._wake(lab_id)
        if state is not None and (state.ready or state.failed):
            waiting.clear()

    async def _store(
        self, specification: EnvironmentSpecification, state: ReadinessState, prepared: Prepared
    ) -> None:
        runtimes = specification.runtimes
        record = EnvironmentRecord(
            datalab=specification.datalab,
            version=specification.version,
            runtime=runtimes.order[0],
            state=state,
            fraction=1.0 if prepared.ready else prepared.fraction,
            text=prepared.text,
            revision=0,
            withdrawn=False,
            specification_document=specification.model_dump(mode="json"),
        )
        async with self._storing, self._database.transaction() as session:
            if self._closed:
                return
            before = await store.get(session, record.datalab, record.version)
            if before is not None and replace(before, revision=0) == record:
                return
            stored = await store.put(session, record)
            fact = ReadinessFact(
                readiness=stored.contract(),
                revision=stored.revision,
                owner=PLATFORM,
                actor="service:launcher",
            )
            self._outbox.add(session, ENVIRONMENT_CHANGED, stored.datalab, fact, revision=stored.revision)
