"""What auth is made of."""

from pathlib import Path

from datalabs_auth.accounts import Accounts, Seeding, UidRange
from datalabs_auth.brakes import Brakes, Rule
from datalabs_auth.config import AuthSettings
from datalabs_auth.messages import register
from datalabs_auth.passwords import Passwords
from datalabs_auth.sessions import Sessions, SessionTimes
from datalabs_auth.tables import Base
from datalabs_runtime.clock import SystemClock
from datalabs_runtime.database import Database
from datalabs_runtime.health import Health
from datalabs_runtime.identity import Signer, Verifier
from datalabs_runtime.messaging import Messaging
from datalabs_runtime.outbox import Outbox, OutboxRelay
from datalabs_runtime.service import Loop, Service
from datalabs_runtime.settings import NatsSettings, PlatformSettings, PostgresSettings, load

NAME = "auth"
SETTINGS = AuthSettings
EXPIRY_EVERY = 60.0
"""Seconds between looks for expired sessions; a request with an expired one is refused at once in any case."""


def build(config: Path | None = None) -> Service:
    """Wire the service."""
    settings = load(AuthSettings, config)
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
    passwords = Passwords(
        memory_kib=settings.hash_memory_kib, passes=settings.hash_passes, at_once=settings.hashes_at_once
    )
    accounts = Accounts(
        database=database,
        outbox=outbox,
        clock=clock,
        passwords=passwords,
        uids=UidRange(first=settings.uid_first, last=settings.uid_last),
        password_min_length=settings.password_min_length,
    )
    sessions = Sessions(
        database=database,
        outbox=outbox,
        clock=clock,
        passwords=passwords,
        brakes=_brakes(settings),
        times=SessionTimes(
            lifetime=settings.session_lifetime,
            idle=settings.session_idle,
            seen_every=settings.session_seen_every,
            retention=settings.session_retention,
        ),
    )
    register(messaging, accounts=accounts, sessions=sessions)
    health.add("database", database.check)
    return Service(
        NAME,
        [
            health,
            database,
            Seeding(accounts, settings.seed_file or platform.secrets_folder / "accounts.json"),
            messaging,
            OutboxRelay(database, Base, messaging, clock=clock),
            Loop("end expired sessions", EXPIRY_EVERY, sessions.end_due, clock=clock),
        ],
        health,
    )


def _brakes(settings: AuthSettings) -> Brakes:
    return Brakes(
        pair=Rule(free=settings.account_free_failures, longest=settings.account_longest_delay),
        address=Rule(free=settings.address_free_failures, longest=settings.address_longest_delay),
        forget_after=settings.failures_forgotten_after,
        trust_for=settings.trust_after_sign_in,
    )
