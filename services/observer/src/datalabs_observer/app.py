"""What the observer is made of."""

from pathlib import Path

from datalabs_observer.config import ObserverSettings
from datalabs_observer.dead_letters import DeadLetters
from datalabs_observer.history import History
from datalabs_observer.ingest import Ingest
from datalabs_observer.messages import register
from datalabs_observer.parts import Parts
from datalabs_observer.spans import Spans
from datalabs_observer.tidying import Tidying
from datalabs_runtime.clock import SystemClock
from datalabs_runtime.database import Database
from datalabs_runtime.health import Health
from datalabs_runtime.identity import Signer, Verifier
from datalabs_runtime.messaging import Messaging
from datalabs_runtime.service import Loop, Service
from datalabs_runtime.settings import NatsSettings, PlatformSettings, PostgresSettings, load

NAME = "observer"
SETTINGS = ObserverSettings


def build(config: Path | None = None) -> Service:
    """Wire the service."""
    settings = load(ObserverSettings, config)
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
    history = History(database=database, clock=clock)
    spans = Spans(database=database, clock=clock, capacity=settings.span_queue)
    dead_letters = DeadLetters(database=database, clock=clock, give_back=messaging.replay)
    parts = Parts(
        run_folder=platform.run_folder, clock=clock, own={"postgres": database.check, "nats": messaging.check}
    )
    tidying = Tidying(history=history, spans=spans, dead_letters=dead_letters, settings=settings)
    ingest = Ingest(
        socket=settings.socket or platform.run_folder / "observer.sock",
        spans=spans,
        clock=clock,
        body_max_bytes=settings.body_max_bytes,
        oldest=settings.spans_max_age,
    )
    register(messaging, history=history, spans=spans, dead_letters=dead_letters, parts=parts)
    health.add("database", database.check)
    return Service(
        NAME,
        [
            health,
            database,
            spans,
            ingest,
            messaging,
            Loop("tidy", settings.tidy_every.total_seconds(), tidying.run, clock=clock),
        ],
        health,
        niceness=10,  # what was is written down behind what is happening
    )
