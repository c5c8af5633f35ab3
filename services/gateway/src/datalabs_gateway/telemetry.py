"""Spans of browsers and labs on their way to the observer: limited, marked by the server, never waited for."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from prometheus_client import Counter
from starlette.requests import Request

from datalabs_contracts.problems import ProblemCode, ProblemError
from datalabs_gateway import otlp
from datalabs_gateway.callers import SCOPE_CALLER, Caller, address_of
from datalabs_gateway.limits import Buckets
from datalabs_gateway.site import SiteFacts

LAB_ISSUER = "launcher"
LAB_AUDIENCE = "datalabs-lab"
UNIX = "unix:"
WAITING = 200
"""Bodies that wait for the observer; more are dropped."""
SEND_SECONDS = 2.0
DROPPED = Counter(
    "datalabs_gateway_spans_dropped_total", "Bodies of spans that no collector took.", ["reason"]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """Who sent spans: its rate's key, and what is written over its spans' own attributes."""

    key: str
    marks: dict[str, str]


class SpanForwarder:
    """Sends bodies to the collector one after the other; a part. What it cannot deliver is dropped and counted."""

    name = "span forwarder"

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._waiting: asyncio.Queue[bytes] = asyncio.Queue(WAITING)
        self._task: asyncio.Task[None] | None = None

    def put(self, body: bytes) -> None:
        """Hand over one OTLP protobuf body."""
        if not self._endpoint:
            return
        try:
            self._waiting.put_nowait(body)
        except asyncio.QueueFull:
            DROPPED.labels("queue_full").inc()

    async def start(self) -> None:
        """Begin to send."""
        if self._endpoint:
            self._task = asyncio.create_task(self._run(), name=self.name)

    async def aclose(self) -> None:
        """Stop; what waits is dropped."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _run(self) -> None:
        is_unix = self._endpoint.startswith(UNIX)
        url = "http://observer" if is_unix else self._endpoint.rstrip("/")
        connector = aiohttp.UnixConnector(self._endpoint.removeprefix(UNIX)) if is_unix else None
        timeout = aiohttp.ClientTimeout(total=SEND_SECONDS)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            while True:
                body = await self._waiting.get()
                try:
                    async with session.post(
                        f"{url}/v1/traces", data=body, headers={"content-type": otlp.PROTOBUF}
                    ) as answer:
                        if not answer.ok:
                            DROPPED.labels("refused").inc()
                except (aiohttp.ClientError, OSError, TimeoutError):
                    DROPPED.labels("unreachable").inc()


class SpanIntake:
    """Takes spans from the dashboard's pages (same origin) and from labs (their token)."""

    def __init__(
        self,
        *,
        forwarder: SpanForwarder,
        lab_keys: KeySet,
        site: SiteFacts,
        buckets: Buckets,
        max_bytes: int,
        now: Callable[[], float],
    ) -> None:
        self._forwarder = forwarder
        self._lab_keys = lab_keys
        self._site = site
        self._buckets = buckets
        self._max_bytes = max_bytes
        self._now = now

    async def take(self, request: Request) -> str:
        """Take one body and return its media type.

        Raises ProblemError `not_signed_in`, `rate_limited`, `body_too_large` or `invalid_request`.
        """
        sender = self._sender(request)
        self._buckets.take(sender.key)
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        spans = otlp.read(await self._body(request), media_type)
        if otlp.mark(spans, sender.marks):
            self._forwarder.put(spans.SerializeToString())
        return media_type

    async def _body(self, request: Request) -> bytes:
        parts, size = [], 0
        async for part in request.stream():
            size += len(part)
            if size > self._max_bytes:
                raise ProblemError(
                    ProblemCode.BODY_TOO_LARGE, f"A body of spans may have {self._max_bytes} bytes."
                )
            parts.append(part)
        return b"".join(parts)

    def _sender(self, request: Request) -> Sender:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self._lab(token.strip())
        caller: Caller | None = request.scope.get(SCOPE_CALLER)
        if caller is not None:
            return Sender(
                key=f"session {caller.session_id}",
                marks={"service.name": "dashboard", "enduser.id": caller.username},
            )
        origin = request.headers.get("origin", "")
        if not self._site.is_own_origin(origin, request.headers.get("host", "")):
            raise ProblemError(
                ProblemCode.NOT_SIGNED_IN, "Spans come from the platform's pages or from labs."
            )
        return Sender(key=f"address {address_of(request.scope)}", marks={"service.name": "dashboard"})

    def _lab(self, token: str) -> Sender:
        try:
            decoded = jwt.decode(token, self._lab_keys, algorithms=["ES256"])
        except (JoseError, ValueError) as error:
            raise ProblemError(ProblemCode.NOT_SIGNED_IN, "This is no lab's token.") from error
        claims: dict[str, Any] = decoded.claims
        expires, lab, owner = claims.get("exp"), claims.get("lab"), claims.get("owner")
        if (
            decoded.header.get("kid") != LAB_ISSUER
            or claims.get("iss") != LAB_ISSUER
            or claims.get("aud") != LAB_AUDIENCE
            or not isinstance(lab, str)
            or not isinstance(expires, int)
            or expires <= self._now()
        ):
            raise ProblemError(ProblemCode.NOT_SIGNED_IN, "The lab's token does not hold any more.")
        marks = {"service.name": "lab", "datalabs.lab.id": lab, "enduser.id": str(owner)}
        return Sender(key=f"lab {lab}", marks=marks)
