"""The launcher put together around a database, a scheduler and its neighbours: in service and in tests alike."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from datalabs_launcher.admission import Admission
from datalabs_launcher.background import Background
from datalabs_launcher.config import LauncherSettings
from datalabs_launcher.crash_points import CrashPoints, NoCrashPoints
from datalabs_launcher.driver import Driver
from datalabs_launcher.environments import Environments
from datalabs_launcher.journal import Journal
from datalabs_launcher.launches import Launches
from datalabs_launcher.life import Life
from datalabs_launcher.lifecycle import Lifecycle
from datalabs_launcher.neighbours import Neighbours
from datalabs_launcher.placement import Site
from datalabs_launcher.readiness import Prober
from datalabs_launcher.samples import Samples
from datalabs_launcher.scheduler import Scheduler
from datalabs_launcher.starts import Starts
from datalabs_launcher.steps import Interrupts
from datalabs_launcher.tokens import LabTokens
from datalabs_launcher.upkeep import Upkeep
from datalabs_launcher.views import Views
from datalabs_launcher.volumes import LabVolumes
from datalabs_launcher.watching import Sightings, Watcher
from datalabs_launcher.wishes import Wishes
from datalabs_runtime.clock import Clock
from datalabs_runtime.database import Database
from datalabs_runtime.outbox import Outbox
from datalabs_runtime.rpc import RpcClient


@dataclass(frozen=True, kw_only=True)
class Launcher:
    """All jobs of the launcher."""

    launches: Launches
    wishes: Wishes
    views: Views
    samples: Samples
    environments: Environments
    admission: Admission
    driver: Driver
    watcher: Watcher
    prober: Prober
    upkeep: Upkeep
    background: Background


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
    journal = Journal(database=database, outbox=outbox, instance=settings.instance)
    neighbours = Neighbours(rpc=rpc, clock=clock)
    sightings, interrupts, background = Sightings(clock=clock), Interrupts(), Background()
    wake: Callable[[str], None] = lambda lab_id: driver.wake(lab_id)  # noqa: E731 - the driver is made last
    volumes = LabVolumes(neighbours=neighbours)
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
        admitted=wake,
    )
    upkeep = Upkeep(
        database=database,
        scheduler=scheduler,
        volumes=volumes,
        tokens=tokens,
        clock=clock,
        settings=settings,
    )
    lifecycle = Lifecycle(
        Life(
            database=database,
            journal=journal,
            scheduler=scheduler,
            environments=environments,
            volumes=volumes,
            starts=Starts(scheduler=scheduler, clock=clock),
            prober=prober,
            tokens=tokens,
            interrupts=interrupts,
            crash_points=crash_points,
            clock=clock,
            settings=settings,
            site=site,
            launched=lambda lab_id, attempt: background.run(upkeep.account_for(lab_id, attempt)),
            ended=lambda _: admission.wake.set(),
        )
    )
    driver = Driver(
        database=database,
        lifecycle=lifecycle,
        sightings=sightings,
        interrupts=interrupts,
        clock=clock,
        instance=settings.instance,
        claim_seconds=settings.claim,
    )
    return Launcher(
        launches=Launches(
            database=database,
            journal=journal,
            scheduler=scheduler,
            neighbours=neighbours,
            admission=admission,
            crash_points=crash_points,
            clock=clock,
            settings=settings,
            queued=admission.wake.set,
        ),
        wishes=Wishes(
            database=database,
            journal=journal,
            ending=lifecycle.ending,
            clock=clock,
            settings=settings,
            interrupt=driver.interrupt,
        ),
        views=Views(database=database, scheduler=scheduler, admission=admission, clock=clock, site=site),
        samples=Samples(scheduler=scheduler, sightings=sightings, publish=publish, clock=clock),
        environments=environments,
        admission=admission,
        driver=driver,
        watcher=Watcher(scheduler=scheduler, database=database, sightings=sightings, clock=clock, wake=wake),
        prober=prober,
        upkeep=upkeep,
        background=background,
    )
