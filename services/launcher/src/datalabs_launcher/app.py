"""What the launcher is made of."""

from pathlib import Path

from datalabs_launcher.assembly import assemble
from datalabs_launcher.clusters import ClusterPart, cluster_of, side_of
from datalabs_launcher.config import LauncherSettings
from datalabs_launcher.crash_points import HeldPoints
from datalabs_launcher.messages import Handlers, register
from datalabs_launcher.placement import Site
from datalabs_launcher.stepping import SteppedClock
from datalabs_launcher.tables import Base
from datalabs_launcher.tokens import LabTokens
from datalabs_runtime.clock import SystemClock
from datalabs_runtime.database import Database
from datalabs_runtime.health import Health
from datalabs_runtime.identity import Signer, Verifier
from datalabs_runtime.messaging import Messaging
from datalabs_runtime.outbox import Outbox, OutboxRelay
from datalabs_runtime.service import Service
from datalabs_runtime.settings import NatsSettings, PlatformSettings, PostgresSettings, load

NAME = "launcher"
SETTINGS = LauncherSettings


def build(config: Path | None = None) -> Service:
    """Wire the service."""
    settings = load(LauncherSettings, config)
    platform = load(PlatformSettings, config)
    clock = SteppedClock(SystemClock())
    health = Health(NAME, platform.health_socket(NAME), port=platform.metrics_port)
    database = Database(load(PostgresSettings, config).url(NAME), clock)
    messaging = Messaging(
        NAME,
        load(NatsSettings, config),
        signer=Signer.read(NAME, platform.identities),
        verifier=Verifier.read(platform.identities),
        health=health,
    )
    scheduler = cluster_of(settings, platform, config)
    launcher = assemble(
        database=database,
        outbox=Outbox(Base, NAME, clock=clock),
        scheduler=scheduler,
        rpc=messaging.rpc,
        publish=messaging.publish_core,
        tokens=LabTokens.read(platform.identities, clock),
        site=Site(
            scheme=platform.labs_scheme,
            domain=platform.labs_domain,
            port=platform.labs_port,
            api_url=(platform.api_url_for_labs or platform.public_url).rstrip("/"),
            edge_key=platform.edge_key_file.read_bytes(),
        ),
        settings=settings,
        clock=clock,
        crash_points=HeldPoints(settings.crash_points) if settings.crash_points else None,
    )
    register(
        messaging,
        Handlers(
            database=database,
            launches=launcher.launches,
            wishes=launcher.wishes,
            policies=launcher.policies,
            views=launcher.views,
            samples=launcher.samples,
            upkeep=launcher.upkeep,
            environments=launcher.environments,
            rpc=messaging.rpc,
        ),
    )
    health.add("database", database.check)
    return Service(
        NAME,
        [
            health,
            database,
            messaging,
            OutboxRelay(database, Base, messaging, clock=clock, calm=launcher.rush.over),
            ClusterPart(scheduler, side_of(settings, platform)),
            *launcher.parts(),
        ],
        health,
    )
