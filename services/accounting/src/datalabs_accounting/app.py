"""What accounting is made of."""

from pathlib import Path

from datalabs_accounting.config import AccountingSettings
from datalabs_accounting.ledger import Ledger
from datalabs_accounting.messages import register
from datalabs_accounting.models import Maxima
from datalabs_accounting.reservations import Reservations
from datalabs_accounting.tables import Base
from datalabs_accounting.usage import Usage
from datalabs_runtime.clock import SystemClock
from datalabs_runtime.database import Database
from datalabs_runtime.health import Health
from datalabs_runtime.identity import Signer, Verifier
from datalabs_runtime.inbox import Inbox
from datalabs_runtime.messaging import Messaging
from datalabs_runtime.outbox import Outbox, OutboxRelay
from datalabs_runtime.service import Loop, Service
from datalabs_runtime.settings import NatsSettings, PlatformSettings, PostgresSettings, load

NAME = "accounting"
SETTINGS = AccountingSettings


def build(config: Path | None = None) -> Service:
    """Wire the service."""
    settings = load(AccountingSettings, config)
    platform = load(PlatformSettings, config)
    clock = SystemClock()
    health = Health(NAME, platform.health_socket(NAME), port=platform.metrics_port)
    database = Database(load(PostgresSettings, config).url(NAME), clock)
    messaging = Messaging(
        NAME,
        load(NatsSettings, config),
        signer=Signer.read(NAME, platform.identities),
        verifier=Verifier.read(platform.identities),
        health=health,
    )
    outbox = Outbox(Base, NAME, clock=clock)
    reservations = Reservations(
        database=database,
        clock=clock,
        rpc=messaging.rpc,
        default=Maxima(labs=settings.max_labs, cores=settings.max_cores, memory_mib=settings.max_memory_mib),
        grace=settings.reconcile_grace,
    )
    register(
        messaging,
        ledger=Ledger(database=database, inbox=Inbox(Base), outbox=outbox),
        reservations=reservations,
        usage=Usage(database=database, clock=clock, reservations=reservations),
    )
    health.add("database", database.check)
    return Service(
        NAME,
        [
            health,
            database,
            messaging,
            OutboxRelay(database, Base, messaging, clock=clock),
            Loop(
                "reconcile reservations",
                settings.reconcile_every.total_seconds(),
                reservations.reconcile,
                clock=clock,
                at_once=False,
            ),
        ],
        health,
    )
