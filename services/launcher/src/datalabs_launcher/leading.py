"""Which of several launchers follows the clusters' news and measures: the one that holds the lease.

Leading spares work, it does not keep labs whole: every change of a lab is checked against its revision in the
transaction that makes it, and a job that was not known once never will be. So an instance that was stopped, and wakes
up when another one leads, can do no harm; it only has to fall silent soon.
"""

from collections.abc import Callable

from datalabs_launcher.tables import Base
from datalabs_runtime.clock import SystemClock
from datalabs_runtime.database import Database
from datalabs_runtime.leases import Lease

NAME = "clusters"


def lease_of(database: Database, instance: str, seconds: float) -> Lease:
    """Return this instance's hold on the lead; it lasts so many seconds unless renewed, by the database's clock."""
    return Lease(database, Base, NAME, instance, seconds, clock=SystemClock())


Leads = Callable[[], bool]
"""Whether this instance leads now, as far as it knows."""
