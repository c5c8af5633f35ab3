"""What every step of a lab's life works with: wiring, nothing else."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from datalabs_launcher import stepping
from datalabs_launcher.addresses import Addresses
from datalabs_launcher.config import LauncherSettings
from datalabs_launcher.crash_points import CrashPoints
from datalabs_launcher.environments import Environments
from datalabs_launcher.journal import Journal
from datalabs_launcher.placement import Site
from datalabs_launcher.readiness import Prober
from datalabs_launcher.scheduler import Scheduler
from datalabs_launcher.starts import Starts
from datalabs_launcher.steps import Interrupts
from datalabs_launcher.tokens import LabTokens
from datalabs_launcher.volumes import LabVolumes
from datalabs_runtime.clock import Clock
from datalabs_runtime.database import Database


@dataclass(frozen=True, kw_only=True)
class Life:
    """The hands of the life cycle. `launched` and `ended` are called with lab and attempt, after the commit."""

    database: Database
    journal: Journal
    addresses: Addresses
    scheduler: Scheduler
    environments: Environments
    volumes: LabVolumes
    starts: Starts
    prober: Prober
    tokens: LabTokens
    interrupts: Interrupts
    crash_points: CrashPoints
    clock: Clock
    settings: LauncherSettings
    site: Site
    launched: Callable[[str, int], None]
    ended: Callable[[str, int], None]

    def now(self) -> datetime:
        """Return the moment."""
        return self.clock.now()

    def moved(self, moment: datetime) -> datetime:
        """Return what the clock calls a moment of before, should it have been set since."""
        return stepping.moved(self.clock, moment)
