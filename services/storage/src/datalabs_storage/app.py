"""What storage is made of."""

from pathlib import Path

from datalabs_runtime.clock import SystemClock
from datalabs_runtime.database import Database
from datalabs_runtime.health import Health
from datalabs_runtime.identity import Signer, Verifier
from datalabs_runtime.inbox import Inbox
from datalabs_runtime.messaging import Messaging
from datalabs_runtime.outbox import Outbox, OutboxRelay
from datalabs_runtime.service import Loop, Service
from datalabs_runtime.settings import NatsSettings, PlatformSettings, PostgresSettings, load
from datalabs_storage.collections import Collections, Times
from datalabs_storage.config import StorageSettings
from datalabs_storage.disk import MIB, Disk
from datalabs_storage.index import Index
from datalabs_storage.messages import register
from datalabs_storage.models import Layout
from datalabs_storage.packages import Packages, find_uv
from datalabs_storage.tables import Base
from datalabs_storage.volumes import VolumeKeeper

NAME = "storage"
SETTINGS = StorageSettings
SWEEP_EVERY = 60.0
"""Seconds between looks for released folders; a release wakes the loop at once."""


def build(config: Path | None = None) -> Service:
    """Wire the service."""
    settings = load(StorageSettings, config)
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
    layout = Layout(
        volumes=settings.volumes_folder or platform.state_folder / "volumes",
        collections=settings.collections_folder or platform.state_folder / "collections",
    )
    disk = Disk(folder=platform.state_folder, minimum_free_mib=settings.minimum_free_mib)
    index = Index(url=settings.package_index, largest=settings.download_mib * MIB)
    collections = Collections(
        database=database,
        outbox=outbox,
        clock=clock,
        layout=layout,
        disk=disk,
        packages=Packages(index=index, uv=settings.uv or find_uv()),
        roots=platform.content,
        times=Times(
            verify_every=settings.verify_every,
            retry_first=settings.retry_first,
            retry_longest=settings.retry_longest,
            wait=settings.wait_for_collection,
            replaced_kept=settings.replaced_kept,
        ),
    )
    volumes = VolumeKeeper(
        database=database,
        outbox=outbox,
        inbox=Inbox(Base),
        clock=clock,
        layout=layout,
        disk=disk,
        collections=collections,
        measure_every=settings.measure_every,
        measure_at_most=settings.measure_at_most,
        home_mib=settings.home_mib,
    )
    register(messaging, volumes=volumes, collections=collections)
    health.add("database", database.check)
    return Service(
        NAME,
        [
            health,
            database,
            messaging,
            OutboxRelay(database, Base, messaging, clock=clock),
            volumes,
            Loop(
                "install collections", settings.scan_every.total_seconds(), collections.refresh, clock=clock
            ),
            Loop("remove released", SWEEP_EVERY, volumes.sweep, wake=volumes.something_released, clock=clock),
        ],
        health,
    )
