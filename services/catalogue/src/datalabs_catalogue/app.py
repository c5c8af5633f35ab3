"""What the catalogue is made of."""

import functools
import os
import socket
from pathlib import Path

from datalabs_catalogue.collections import CollectionsMirror
from datalabs_catalogue.config import CatalogueSettings
from datalabs_catalogue.importing import Importer
from datalabs_catalogue.messages import listen, serve
from datalabs_catalogue.popularity import Popularity
from datalabs_catalogue.searching import Catalogue
from datalabs_catalogue.sizes import Sizes
from datalabs_catalogue.sources import MIB, Sources
from datalabs_catalogue.specifications import Specifications
from datalabs_catalogue.tables import Base
from datalabs_contracts.base import Page, PageQuery
from datalabs_contracts.datalabs import Collection
from datalabs_contracts.rpc import LIST_COLLECTIONS
from datalabs_runtime.clock import SystemClock
from datalabs_runtime.database import Database
from datalabs_runtime.health import Health
from datalabs_runtime.identity import Signer, Verifier
from datalabs_runtime.inbox import Inbox
from datalabs_runtime.leases import Lease
from datalabs_runtime.messaging import Messaging
from datalabs_runtime.outbox import Outbox, OutboxRelay
from datalabs_runtime.service import Loop, Service
from datalabs_runtime.settings import NatsSettings, PlatformSettings, PostgresSettings, load

NAME = "catalogue"
SETTINGS = CatalogueSettings
CLEAR_EVERY = 3600.0
"""Seconds between removals of files that no version names any more."""
IMPORT_LEASE = 30.0
"""Seconds; as often the folders are looked at. A holder of this machine that died is replaced at once."""


def build(config: Path | None = None) -> Service:
    """Wire the service."""
    settings = load(CatalogueSettings, config)
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
    lease = Lease(
        database, Base, "import", f"{socket.gethostname()}:{os.getpid()}", IMPORT_LEASE, clock=clock
    )
    sizes = Sizes(settings.sizes)
    importer = Importer(
        database=database,
        outbox=outbox,
        clock=clock,
        lease=lease,
        roots=platform.content,
        kept=Sources(settings.sources_folder or platform.state_folder / "catalogue"),
        sizes=sizes,
        largest=settings.source_mib * MIB,
        kept_for=settings.sources_kept,
    )
    collections = CollectionsMirror(
        database=database, ask=functools.partial(_collections_of_storage, messaging)
    )
    serve(
        messaging,
        catalogue=Catalogue(database=database, sizes=sizes),
        specifications=Specifications(database=database, sizes=sizes),
    )
    listen(
        messaging,
        popularity=Popularity(database=database, outbox=outbox, inbox=Inbox(Base), clock=clock),
        collections=collections,
    )
    health.add("database", database.check)
    health.add("datalabs", importer.check)
    return Service(
        NAME,
        [
            health,
            database,
            lease,
            messaging,
            OutboxRelay(database, Base, messaging, clock=clock),
            Loop("import datalabs", settings.scan_every.total_seconds(), importer.refresh, clock=clock),
            Loop("clear sources", CLEAR_EVERY, importer.clear_sources, clock=clock, at_once=False),
            Loop(
                "mirror collections",
                settings.collections_every.total_seconds(),
                collections.refresh,
                clock=clock,
            ),
        ],
        health,
    )


async def _collections_of_storage(messaging: Messaging, query: PageQuery) -> Page[Collection]:
    return await messaging.rpc.call(LIST_COLLECTIONS, query)
