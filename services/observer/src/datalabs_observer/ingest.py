"""OTLP over HTTP in, on a Unix socket: `POST /v1/traces`. Also `GET /metrics`.

Whoever sends is never made to wait: a body is read, its spans are queued, and what finds no room is dropped, counted
and said in the answer (`partial_success`), so that no sender repeats it.
"""

import json
import zlib
from datetime import timedelta
from pathlib import Path

import structlog
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from datalabs_observer import otlp
from datalabs_observer.errors import BodyTooLargeError, UnreadableTelemetryError
from datalabs_observer.spans import Spans, dropped
from datalabs_runtime.clock import Clock

log = structlog.get_logger()

STOP_SECONDS = 1.0
UNSUPPORTED = 415
BAD_REQUEST = 400
TOO_LARGE = 413
ANY_HEADER = 32 + zlib.MAX_WBITS
"""Tells zlib to take gzip and deflate alike."""


class Ingest:
    """The collector's door; a part of the service."""

    name = "ingest"

    def __init__(
        self, *, socket: Path, spans: Spans, clock: Clock, body_max_bytes: int, oldest: timedelta
    ) -> None:
        self._socket = socket
        self._spans = spans
        self._clock = clock
        self._body_max_bytes = body_max_bytes
        self._oldest = oldest
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Open the socket, in place of one that a killed predecessor left."""
        application = web.Application(client_max_size=self._body_max_bytes)
        application.router.add_post("/v1/traces", self._traces)
        application.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(
            application, access_log=None, shutdown_timeout=STOP_SECONDS, auto_decompress=False
        )
        await self._runner.setup()
        self._socket.unlink(missing_ok=True)
        await web.UnixSite(self._runner, str(self._socket)).start()
        self._socket.chmod(0o600)

    async def aclose(self) -> None:
        """Close the socket."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _traces(self, request: web.Request) -> web.Response:
        kind = request.content_type
        if kind not in {otlp.PROTOBUF, otlp.JSON}:
            return web.Response(status=UNSUPPORTED, text=f"send {otlp.PROTOBUF} or {otlp.JSON}")
        try:
            body = self._unpacked(await request.read(), request.headers.get("Content-Encoding", ""))
            spans, refused = otlp.spans(otlp.parse(body, kind), now=self._clock.now(), oldest=self._oldest)
        except UnreadableTelemetryError as error:
            return web.Response(status=BAD_REQUEST, text=str(error))
        except BodyTooLargeError as error:
            return web.Response(status=TOO_LARGE, text=str(error))
        if refused:
            dropped.labels("impossible").inc(refused)
        lost = self._spans.take(spans)
        return _answer(kind, refused=refused, lost=lost)

    def _unpacked(self, body: bytes, encoding: str) -> bytes:
        """Return the body without its compression, which may blow up to the limit and no further."""
        if encoding in {"", "identity"}:
            return body
        unpacker = zlib.decompressobj(ANY_HEADER)
        try:
            unpacked = unpacker.decompress(body, self._body_max_bytes + 1)
        except zlib.error as error:
            raise UnreadableTelemetryError(f"the body is not {encoding}") from error
        if len(unpacked) > self._body_max_bytes:
            raise BodyTooLargeError(f"unpacked the body has more than {self._body_max_bytes} bytes")
        return unpacked

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})


def _answer(kind: str, *, refused: int, lost: int) -> web.Response:
    rejected = refused + lost
    reasons = [f"{lost} found no room"] if lost else []
    reasons += [f"{refused} had impossible ids or times"] if refused else []
    text = ", ".join(reasons)
    if kind == otlp.JSON:
        document = (
            {"partialSuccess": {"rejectedSpans": str(rejected), "errorMessage": text}} if rejected else {}
        )
        return web.Response(body=json.dumps(document), content_type=otlp.JSON)
    response = ExportTraceServiceResponse()
    if rejected:
        partial = ExportTracePartialSuccess(rejected_spans=rejected, error_message=text)
        response.partial_success.CopyFrom(partial)
    return web.Response(body=response.SerializeToString(), content_type=otlp.PROTOBUF)
