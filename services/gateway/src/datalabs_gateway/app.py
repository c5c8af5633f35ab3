"""What the gateway is made of: the only place that constructs things."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from joserfc.jwk import KeySet

from datalabs_gateway import models
from datalabs_gateway.answers import API_POLICY, Answers
from datalabs_gateway.api import build_api
from datalabs_gateway.asking import Asking
from datalabs_gateway.border import Border
from datalabs_gateway.catalogue import Catalogue
from datalabs_gateway.config import GatewaySettings
from datalabs_gateway.dashboard import Dashboard
from datalabs_gateway.desktop import DesktopPage
from datalabs_gateway.documents import ContractFiles
from datalabs_gateway.doorstep import Doorstep
from datalabs_gateway.entries import Entries
from datalabs_gateway.feeding import Feed
from datalabs_gateway.gateway import Gateway
from datalabs_gateway.lab_origins import LabOrigins
from datalabs_gateway.lab_pages import LabPages
from datalabs_gateway.lab_tokens import LabTokens
from datalabs_gateway.labs import Labs
from datalabs_gateway.limits import Buckets, Limits
from datalabs_gateway.live import Live
from datalabs_gateway.openapi import build_openapi
from datalabs_gateway.people import People
from datalabs_gateway.projection import Projection
from datalabs_gateway.reads import FastReads
from datalabs_gateway.remembering import Remembering
from datalabs_gateway.server import HttpServer
from datalabs_gateway.sessions import Sessions
from datalabs_gateway.signs import RENEW_SECONDS, Signs
from datalabs_gateway.site import SiteFacts
from datalabs_gateway.store import Store
from datalabs_gateway.telemetry import SpanForwarder, SpanIntake
from datalabs_runtime.clock import Clock, SystemClock
from datalabs_runtime.database import Database
from datalabs_runtime.health import Health
from datalabs_runtime.identity import PUBLIC_KEYS, Signer, Verifier
from datalabs_runtime.messaging import Messaging
from datalabs_runtime.service import Loop, Service
from datalabs_runtime.settings import (
    NatsSettings,
    PlatformSettings,
    PostgresSettings,
    TelemetrySettings,
    load,
)

SERVICE = "gateway"
SETTINGS = GatewaySettings
FACTS = ["events.>"]
SAMPLES = "live.lab.*.sample"
SOCKET = "gateway.sock"
ROUTE_KEY = "route.key"
PRUNE_EVERY = 60.0
MISSES_PER_SECOND = 100
SAMPLED_READS_PER_SECOND = 5


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The wired gateway, for the service and for tests that look inside."""

    service: Service
    border: Border
    gateway: Gateway
    feed: Feed
    projection: Projection


def build(config: Path | None = None) -> Service:
    """Wire the gateway from a settings file."""
    return build_parts(config).service


def build_parts(config: Path | None = None, *, clock: Clock | None = None) -> Parts:
    """Wire the gateway and show its inside."""
    settings = load(GatewaySettings, config)
    platform = load(PlatformSettings, config)
    clock = clock or SystemClock()
    health = Health(SERVICE, platform.health_socket(SERVICE), port=platform.metrics_port)
    signer = Signer.read(SERVICE, platform.identities)
    messaging = Messaging(
        SERVICE,
        load(NatsSettings, config),
        signer=signer,
        verifier=Verifier.read(platform.identities),
        health=health,
    )
    database = Database(load(PostgresSettings, config).url(SERVICE), clock)
    ask = Asking(messaging.rpc)
    site = _site(platform)
    store = Store(database)
    projection = Projection(max_ended_labs=settings.ended_labs_in_memory)
    remembering = Remembering(store=store, clock=clock)
    sessions = Sessions(ask=ask, signer=signer, clock=clock, believe_seconds=settings.session_cache_seconds)
    labs = Labs(
        ask=ask,
        projection=projection,
        remembering=remembering,
        misses=Buckets(rate=MISSES_PER_SECOND, burst=2 * MISSES_PER_SECOND),
    )
    catalogue = Catalogue(ask=ask, projection=projection)
    live = Live(
        clock=clock,
        still_holds=sessions.still_holds,
        ring_seconds=settings.events_ring_seconds,
        ring_length=settings.events_ring_length,
        heartbeat_seconds=settings.events_heartbeat_seconds,
    )
    signs = Signs(publish=messaging.publish_core, live=live, clock=clock)
    entries = Entries(
        ask=ask,
        used=signs.used,
        sessions=sessions,
        labs=labs,
        tokens=LabTokens.read(
            platform.secrets_folder / ROUTE_KEY, clock=clock, seconds=settings.lab_token_seconds
        ),
        store=store,
        site=site,
        clock=clock,
        code_seconds=settings.entry_code_seconds,
        session_seconds=settings.lab_session_seconds,
        check_seconds=settings.lab_session_check_seconds,
        token_seconds=settings.lab_token_seconds,
    )
    feed = Feed(
        ask=ask, projection=projection, catalogue=catalogue, sessions=sessions, entries=entries, live=live
    )
    sessions.when_ended(feed.session_ended)
    messaging.follow(FACTS, feed.fact, on_reset=feed.missed)
    messaging.subscribe_core(SAMPLES, feed.sample)

    forwarder = SpanForwarder(load(TelemetrySettings, config).endpoint)
    telemetry = SpanIntake(
        forwarder=forwarder,
        lab_keys=KeySet.import_key_set(json.loads((platform.identities / PUBLIC_KEYS).read_text())),
        site=site,
        buckets=Buckets(rate=settings.telemetry_per_second, burst=5 * settings.telemetry_per_second),
        max_bytes=settings.telemetry_max_bytes,
        now=lambda: clock.now().timestamp(),
    )
    api = build_api()

    async def readiness() -> models.Health:
        checks = await health.report()
        well = all(value == "ok" for value in checks.values())
        return models.Health(status="ok" if well else "unavailable", checks=checks)

    gateway = Gateway(
        clock=clock,
        site=site,
        ask=ask,
        sessions=sessions,
        people=People(ask=ask, remembering=remembering),
        labs=labs,
        catalogue=catalogue,
        entries=entries,
        live=live,
        telemetry=telemetry,
        contracts=ContractFiles(folder=settings.documents_folder, make_openapi=lambda: build_openapi(api)),
        readiness=readiness,
    )
    limits, pages = _limits(settings), LabPages(site)
    answers = Answers(is_https=site.is_https)
    border = Border(
        gateway=gateway,
        api=api,
        reads=FastReads(
            sessions=sessions,
            labs=labs,
            catalogue=catalogue,
            reads=limits.reads,
            headers=[*answers.headers, API_POLICY],
        ),
        dashboard=Dashboard(settings.dashboard_folder),
        lab_origins=LabOrigins(
            entries=entries,
            pages=pages,
            doorstep=Doorstep(
                entries=entries,
                labs=labs,
                live=live,
                desktop=DesktopPage(settings.dashboard_folder),
                pages=pages,
                site=site,
            ),
        ),
        limits=limits,
        answers=answers,
        sampled_reads=Buckets(rate=SAMPLED_READS_PER_SECOND, burst=10 * SAMPLED_READS_PER_SECOND),
        max_body_bytes=settings.max_body_bytes,
    )
    health.add("database", database.check)
    service = Service(
        SERVICE,
        [
            health,
            database,
            messaging,
            feed,
            forwarder,
            Loop("interest", RENEW_SECONDS, signs.interest, wake=live.joined, clock=clock),
            Loop("prune", PRUNE_EVERY, _pruning(entries, live), clock=clock),
            HttpServer(border, platform.run_folder / SOCKET, on_stop=live.close),
        ],
        health,
    )
    return Parts(service=service, border=border, gateway=gateway, feed=feed, projection=projection)


def _site(platform: PlatformSettings) -> SiteFacts:
    return SiteFacts(
        name=platform.site_name,
        version=version("datalabs-gateway"),
        public_url=platform.public_url.rstrip("/"),
        labs_domain=platform.labs_domain,
        labs_scheme=platform.labs_scheme,
        labs_port=platform.labs_port,
    )


def _limits(settings: GatewaySettings) -> Limits:
    return Limits(
        reads=Buckets(rate=settings.reads_per_second, burst=2 * settings.reads_per_second),
        writes=Buckets(rate=settings.writes_per_second, burst=5 * settings.writes_per_second),
        launches=Buckets(
            rate=settings.launches_per_ten_seconds / 10, burst=settings.launches_per_ten_seconds
        ),
        strangers=Buckets(rate=settings.strangers_per_second, burst=5 * settings.strangers_per_second),
    )


def _pruning(entries: Entries, live: Live) -> Callable[[], Awaitable[None]]:
    async def prune() -> None:
        live.prune()
        await entries.prune()

    return prune
