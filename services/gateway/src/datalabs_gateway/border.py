"""The border: what every request meets before any route, in plain ASGI because every read pays for it.

In this order: which origin is meant, what a body may weigh, who asks, from where it was sent, how often.
"""

import secrets
from collections.abc import MutableMapping
from time import perf_counter
from typing import Any

import structlog
from fastapi import HTTPException
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from prometheus_client import Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from datalabs_contracts.problems import ProblemCode, ProblemError
from datalabs_gateway.answers import Answers
from datalabs_gateway.callers import SCOPE_ADDRESS, SCOPE_CALLER, Caller
from datalabs_gateway.cookies import SESSION, find_cookie
from datalabs_gateway.dashboard import Dashboard
from datalabs_gateway.errors import SessionGoneError
from datalabs_gateway.gateway import Gateway
from datalabs_gateway.lab_origins import LabOrigins
from datalabs_gateway.limits import Buckets, Limits
from datalabs_gateway.reads import FastReads
from datalabs_gateway.refusals import SCOPE_CODE, SCOPE_TRACE, problem_response
from datalabs_gateway.sessions import digest_of
from datalabs_gateway.site import SiteFacts
from datalabs_runtime.telemetry import parse_traceparent, tracer

API = "/api/v1/"
HEALTH = "/health/"
SCOPE_GATEWAY = "datalabs.gateway"
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
PUBLIC = frozenset({"/api/v1/session", "/api/v1/openapi.json", "/api/v1/asyncapi.json", "/api/v1/telemetry"})
PUBLIC_BELOW = ("/api/v1/providers", "/api/v1/oidc/", "/api/v1/auth/", "/api/v1/telemetry/")
LAB_EVENTS = "/.datalabs/events"
STREAMS = frozenset({"/api/v1/events", "lab events"})
"""Answers that last as long as somebody looks; their time says nothing."""
OWN_SITES = frozenset({b"same-origin", b"none"})
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

REQUESTS = Counter(
    "datalabs_http_requests_total", "Requests by route.", ["method", "route", "status", "code"]
)
DURATION = Histogram(
    "datalabs_http_request_seconds", "Time to the end of the answer.", ["route"], buckets=SECONDS
)

Headers = MutableMapping[bytes, bytes]


class Border:
    """The gateway's one ASGI application."""

    def __init__(
        self,
        *,
        gateway: Gateway,
        api: ASGIApp,
        reads: FastReads,
        dashboard: Dashboard,
        lab_origins: LabOrigins,
        limits: Limits,
        answers: Answers,
        sampled_reads: Buckets,
        max_body_bytes: int,
    ) -> None:
        self._gateway = gateway
        self._api = api
        self._reads = reads
        self._dashboard = dashboard
        self._lab_origins = lab_origins
        self._limits = limits
        self._sampled_reads = sampled_reads
        self._max_body = max_body_bytes
        site: SiteFacts = gateway.site
        self._site = site
        self._answers = answers
        self._log = structlog.get_logger(__name__)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        headers: dict[bytes, bytes] = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1")
        lab_id = self._site.lab_of_host(host)
        if lab_id is not None:
            await self._observed(scope, receive, send, headers, lab_id)
            return
        path: str = scope["path"]
        if path.startswith(API):
            if scope["method"] == "GET" and await self._reads.answer(scope, send, headers):
                return
            await self._observed(scope, receive, send, headers, None)
        elif path.startswith(HEALTH):
            await self._guarded(
                scope, receive, self._answers.wrap(scope, receive, send, headers), headers, None
            )
        else:
            scope[SCOPE_TRACE] = secrets.token_hex(16)
            await self._dashboard(scope, receive, self._answers.wrap(scope, receive, send, headers))

    async def _observed(
        self, scope: Scope, receive: Receive, send: Send, headers: Headers, lab_id: str | None
    ) -> None:
        """Do the work inside its trace, measured; the first to know how it ended."""
        method: str = scope["method"]
        parent = parse_traceparent(headers.get(b"traceparent", b"").decode("latin-1") or None)
        sampled = self._is_sampled(method, parent)
        remote = SpanContext(
            parent.trace_id if parent else secrets.randbits(128) or 1,
            parent.span_id if parent else secrets.randbits(64) or 1,
            is_remote=True,
            trace_flags=TraceFlags(TraceFlags.SAMPLED if sampled else 0),
        )
        begun, status = perf_counter(), [0]
        answer = self._answers.wrap(scope, receive, send, headers, status=status)
        # A span of ours under a parent that nobody recorded would be an orphan: without one it begins the trace.
        above = trace.set_span_in_context(NonRecordingSpan(remote)) if parent or not sampled else None
        if sampled:
            with tracer().start_as_current_span(method, context=above, kind=SpanKind.SERVER) as span:
                scope[SCOPE_TRACE] = f"{span.get_span_context().trace_id or remote.trace_id:032x}"
                await self._guarded(scope, receive, answer, headers, lab_id)
                route = _route(scope, lab_id)
                span.update_name(f"{method} {route}")
                span.set_attributes(
                    {
                        "http.request.method": method,
                        "http.route": route,
                        "http.response.status_code": status[0],
                        "error.type": str(scope.get(SCOPE_CODE, "")),
                    }
                )
                if status[0] >= 500:  # noqa: PLR2004 - the platform's own failures
                    span.set_status(Status(StatusCode.ERROR))
        else:
            scope[SCOPE_TRACE] = f"{remote.trace_id:032x}"
            token = otel_context.attach(above or otel_context.Context())
            try:
                await self._guarded(scope, receive, answer, headers, lab_id)
            finally:
                otel_context.detach(token)
            route = _route(scope, lab_id)
        REQUESTS.labels(method, route, str(status[0]), str(scope.get(SCOPE_CODE, ""))).inc()
        if route not in STREAMS:
            DURATION.labels(route).observe(perf_counter() - begun)

    def _is_sampled(self, method: str, parent: SpanContext | None) -> bool:
        """Every change is recorded; a read only when its caller asked and not too often."""
        if method not in SAFE:
            return True
        if parent is None or not parent.trace_flags.sampled:
            return False
        try:
            self._sampled_reads.take("reads")
        except ProblemError:
            return False
        return True

    async def _guarded(
        self, scope: Scope, receive: Receive, send: Send, headers: Headers, lab_id: str | None
    ) -> None:
        """Do the work; whatever goes wrong leaves as a problem document."""
        started = complete = False

        async def noting(message: Message) -> None:
            nonlocal started, complete
            started = True
            complete = message["type"] == "http.response.body" and not message.get("more_body")
            await send(message)

        try:
            if lab_id is not None:
                await self._lab_origins(scope, receive, noting, lab_id)
                return
            scope[SCOPE_GATEWAY] = self._gateway
            scope[SCOPE_ADDRESS] = _address(headers)
            await self._admit(scope, headers)
            await self._api(scope, self._bounded(scope, receive), noting)
        except ProblemError as error:
            if started:
                raise
            await problem_response(error, scope)(scope, receive, noting)
        except Exception as error:
            self._log.exception("request.failed", path=scope["path"], trace_id=scope.get(SCOPE_TRACE))
            if complete:
                return
            if started:
                raise
            refusal = ProblemError(ProblemCode.INTERNAL_ERROR)
            refusal.__cause__ = error
            await problem_response(refusal, scope)(scope, receive, noting)

    async def _admit(self, scope: Scope, headers: Headers) -> None:
        """Say who asks, and let nobody through who may not."""
        path: str = scope["path"]
        method: str = scope["method"]
        if path.startswith(HEALTH):
            return
        is_public = path in PUBLIC or path.startswith(PUBLIC_BELOW)
        has_bearer = headers.get(b"authorization", b"")[:7].lower() == b"bearer "
        caller: Caller | None = None
        if not is_public or path.startswith("/api/v1/telemetry"):
            caller = None if has_bearer else await self._caller(scope, headers, needed=not is_public)
            if caller is None and not is_public:
                raise ProblemError(ProblemCode.NOT_SIGNED_IN)
            if caller is not None:
                scope[SCOPE_CALLER] = caller
        if method not in SAFE and not has_bearer:
            self._check_origin(headers)
        if caller is None:
            self._limits.strangers.take(_address(headers))
        elif not caller.is_operator:
            self._rate(method, path, caller)
        length = headers.get(b"content-length", b"")
        if length.isdigit() and int(length) > self._max_body:
            raise ProblemError(ProblemCode.BODY_TOO_LARGE, f"At most {self._max_body} bytes are taken.")

    async def _caller(self, scope: Scope, headers: Headers, *, needed: bool) -> Caller | None:
        secret = find_cookie((value for key, value in scope["headers"] if key == b"cookie"), SESSION)
        if not secret:
            return None
        caller = self._gateway.sessions.believed(secret)
        if caller is not None:
            return caller
        self._limits.strangers.take(_address(headers))
        try:
            return await self._gateway.sessions.resolve(digest_of(secret))
        except SessionGoneError:
            if not needed:
                return None
            raise ProblemError(ProblemCode.SESSION_EXPIRED) from None

    def _check_origin(self, headers: Headers) -> None:
        """Refuse what another site's page sent: browsers say so in Origin, or in Sec-Fetch-Site."""
        origin = headers.get(b"origin")
        if origin is not None:
            host = headers.get(b"host", b"").decode("latin-1")
            if not self._site.is_own_origin(origin.decode("latin-1"), host):
                raise ProblemError(ProblemCode.FOREIGN_ORIGIN)
        elif headers.get(b"sec-fetch-site", b"none") not in OWN_SITES:
            raise ProblemError(ProblemCode.FOREIGN_ORIGIN)

    def _rate(self, method: str, path: str, caller: Caller) -> None:
        if method in SAFE:
            self._limits.reads.take(caller.username)
        elif path == "/api/v1/labs":
            self._limits.launches.take(caller.username)
        else:
            self._limits.writes.take(caller.username)

    def _bounded(self, scope: Scope, receive: Receive) -> Receive:
        """Count a body that came without its length; one that said it was small is counted too."""
        if scope["method"] in SAFE:
            return receive
        taken = 0

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            if message["type"] == "http.request":
                taken += len(message.get("body", b""))
                if taken > self._max_body:
                    # FastAPI turns any other error of a body into 400.
                    raise HTTPException(413, f"At most {self._max_body} bytes are taken.")
            return message

        return counted


def _address(headers: Any) -> str:
    """Return the client's address: the edge appends the one it saw to X-Forwarded-For, and only it reaches us."""
    forwarded: bytes = headers.get(b"x-forwarded-for", b"")
    return forwarded.rpartition(b",")[2].strip().decode("latin-1")


def _route(scope: Scope, lab_id: str | None) -> str:
    """Return the route's template, a name of low cardinality."""
    if lab_id is not None:
        asked: str = scope["path"]
        if asked == LAB_EVENTS:
            return "lab events"
        return "lab authorise" if asked.startswith("/edge/") else "lab doorstep"
    route = scope.get("route")
    path = getattr(route, "path", None)
    if path is None:
        return "unmatched"
    return str(path) if path.startswith(("/api/", HEALTH)) else f"/api/v1{path}"
