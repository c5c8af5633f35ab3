"""The launcher put together around a database, a scheduler and its neighbours: in service and in tests alike."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

from datalabs_launcher.addresses import Addresses
from datalabs_launcher.admission import Admission
from datalabs_launcher.background import Background
from datalabs_launcher.config import LauncherSettings
from datalabs_launcher.crash_points import CrashPoints, NoCrashPoints
from datalabs_launcher.driver import Driver
from datalabs_launcher.environments import Environments
from datalabs_launcher.journal import Journal
from datalabs_launcher.launches import Launches
from datalabs_launcher.leading import lease_of
from datalabs_launcher.life import Life
from datalabs_launcher.lifecycle import Lifecycle
from datalabs_launcher.models import LabRecord
from datalabs_launcher.neighbours import Neighbours
from datalabs_launcher.placement import Site
from datalabs_launcher.policies import Policies
from datalabs_launcher.queueing import Rules
from datalabs_launcher.readiness import Prober
from datalabs_launcher.rush import Rush
from datalabs_launcher.samples import Samples
from datalabs_launcher.scheduler import Scheduler
from datalabs_launcher.starts import Starts
from datalabs_launcher.steps import Interrupts
from datalabs_launcher.stillness import Stillness
from datalabs_launcher.tokens import REFRESH_SECONDS, LabTokens
from datalabs_launcher.upkeep import Upkeep
from datalabs_launcher.views import Views
from datalabs_launcher.volumes import LabVolumes
from datalabs_launcher.watching import Sightings, Watcher
from datalabs_launcher.wishes import Wishes
from datalabs_runtime.clock import Clock
from datalabs_runtime.database import Database
from datalabs_runtime.leases import Lease
from datalabs_runtime.outbox import Outbox
from datalabs_runtime.rpc import RpcClient
from datalabs_runtime.service import Loop, Part

ADMISSION = 5.0
"""Seconds between looks at the queue when nobody wakes it."""
SPANS = 30.0
"""Seconds between looks for launches whose spans may not have been sent."""
FILES = 60.0
"""Seconds between looks for files of ended labs whose time is over; a deletion wakes it."""
PRUNE = 3600.0


@dataclass(frozen=True, kw_only=True)
class Launcher:
    """All jobs of the launcher."""

    launches: Launches
    wishes: Wishes
    views: Views
    samples: Samples
    policies: Policies
    environments: Environments
    admission: Admission
    driver: Driver
    lease: Lease
    stillness: Stillness
    watcher: Watcher
    prober: Prober
    starts: Starts
    volumes: LabVolumes
    upkeep: Upkeep
    background: Background
    rush: Rush
    settings: LauncherSettings
    clock: Clock

    def parts(self) -> list[Part]:
        """Return what runs, in the order in which it starts."""
        settings, still = self.settings, self.stillness
        return [
            self.background,
            self.environments,
            self.volumes,
            self.prober,
            self.starts,
            self.driver,
            self.lease,
            self.watcher,
            self._loop("admission", lambda: still.rest(ADMISSION), self._admit, wake=self.admission.wake),
            self._loop("due labs", lambda: still.rest(settings.poll), self.driver.poll, wake=still.over),
            self._loop("reconcile", settings.reconcile, self.watcher.reconcile_if_leading, at_once=False),
            self._loop("samples", max(0.1, settings.sample), self.samples.measure, wake=self.samples.wanted),
            self._loop("use", settings.idle_check, self.upkeep.look_for_use, at_once=False),
            self._loop("files", FILES, self.upkeep.release_files, wake=self.upkeep.files_freed),
            self._loop("tokens", REFRESH_SECONDS, self.upkeep.refresh_tokens),
            self._loop("spans", SPANS, self.upkeep.account_for_all),
            self._loop("prune", PRUNE, self.upkeep.prune, at_once=False),
        ]

    async def _admit(self) -> None:
        await self.rush.over()
        await self.admission.round()

    def _loop(
        self,
        name: str,
        every: float | Callable[[], float],
        work: Callable[[], Awaitable[object]],
        *,
        wake: asyncio.Event | None = None,
        at_once: bool = True,
    ) -> Loop:
        return Loop(name, every, work, wake=wake, clock=self.clock, at_once=at_once)


def assemble(
    *,
    database: Database,
    outbox: Outbox,
    scheduler: Scheduler,
    rpc: RpcClient,
    publish: Callable[[str, bytes], Awaitable[None]],
    tokens: LabTokens,
    site: Site,
    settings: LauncherSettings,
    clock: Clock,
    crash_points: CrashPoints | None = None,
) -> Launcher:
    """Put the launcher together; nothing runs yet."""
    crash_points = crash_points or NoCrashPoints()
    direct = database.direct()  # one for all: what a crowd of labs needs goes one statement after the other
    journal = Journal(direct=direct, outbox=outbox, instance=settings.instance)
    neighbours = Neighbours(rpc=rpc, clock=clock)
    lease = lease_of(database, settings.instance, settings.lease)
    sightings = Sightings(clock=clock, leads=lambda: lease.held)
    interrupts, background, stillness = Interrupts(), Background(), Stillness()

    def wake(lab_id: str) -> None:
        driver.wake(lab_id)

    starts = Starts(scheduler=scheduler, clock=clock, wake=wake)

    def launched(lab_id: str, attempt: int) -> None:
        starts.ready(lab_id)
        background.run(upkeep.account_for_ready(lab_id, attempt))

    def ended(lab_id: str, attempt: int) -> None:
        starts.over(lab_id)
        admission.wake.set()
        upkeep.files_freed.set()
        background.run(upkeep.account_for_end(lab_id, attempt))

    rush = Rush()
    volumes = LabVolumes(neighbours=neighbours)

    def queued(record: LabRecord) -> None:
        admission.wake.set()
        if not rush.on:  # else the launches that are coming in need the processor more
            background.run(volumes.begin(record))

    environments = Environments(
        database=database,
        outbox=outbox,
        scheduler=scheduler,
        neighbours=neighbours,
        clock=clock,
        wake=wake,
    )
    prober = Prober(scheduler=scheduler, clock=clock, wake=wake, answer_seconds=settings.probe_timeout)
    admission = Admission(
        database=database,
        journal=journal,
        scheduler=scheduler,
        neighbours=neighbours,
        crash_points=crash_points,
        clock=clock,
        rules=Rules(
            passes=settings.queue_passes,
            reserve_after=timedelta(seconds=settings.queue_reserve_after),
            patience=timedelta(seconds=settings.queue_patience),
        ),
        admitted=wake,
    )
    upkeep = Upkeep(
        database=database,
        direct=direct,
        journal=journal,
        scheduler=scheduler,
        neighbours=neighbours,
        volumes=volumes,
        tokens=tokens,
        clock=clock,
        settings=settings,
    )
    lifecycle = Lifecycle(
        Life(
            database=database,
            journal=journal,
            addresses=Addresses(direct=direct, clock=clock, settings=settings),
            scheduler=scheduler,
            environments=environments,
            volumes=volumes,
            starts=starts,
            prober=prober,
            tokens=tokens,
            interrupts=interrupts,
            crash_points=crash_points,
            clock=clock,
            settings=settings,
            site=site,
            launched=launched,
            ended=ended,
        )
    )
    driver = Driver(
        database=database,
        direct=direct,
        lifecycle=lifecycle,
        sightings=sightings,
        interrupts=interrupts,
        stillness=stillness,
        clock=clock,
        instance=settings.instance,
        claim_seconds=settings.claim,
    )
    stillness.tell(admission.wake.set)
    return Launcher(
        launches=Launches(
            database=database,
            direct=direct,
            journal=journal,
            scheduler=scheduler,
            neighbours=neighbours,
            admission=admission,
            crash_points=crash_points,
            clock=clock,
            settings=settings,
            rush=rush,
            prepared=environments.is_ready,
            queued=queued,
        ),
        wishes=Wishes(
            database=database,
            journal=journal,
            ending=lifecycle.ending,
            clock=clock,
            settings=settings,
            interrupt=driver.interrupt,
            queue_changed=admission.wake.set,
            files_freed=upkeep.files_freed.set,
        ),
        policies=Policies(database=database, journal=journal, clock=clock, interrupt=driver.interrupt),
        views=Views(database=database, scheduler=scheduler, admission=admission, clock=clock, site=site),
        samples=Samples(
            scheduler=scheduler,
            database=database,
            publish=publish,
            leads=lambda: lease.held,
            clock=clock,
        ),
        environments=environments,
        admission=admission,
        driver=driver,
        lease=lease,
        stillness=stillness,
        watcher=Watcher(
            scheduler=scheduler,
            database=database,
            sightings=sightings,
            lease=lease,
            clock=clock,
            wake=wake,
        ),
        prober=prober,
        starts=starts,
        volumes=volumes,
        upkeep=upkeep,
        background=background,
        rush=rush,
        settings=settings,
        clock=clock,
    )
