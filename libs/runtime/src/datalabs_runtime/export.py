"""OTLP over HTTP, to a TCP address or a Unix socket; what cannot be delivered at once is dropped."""

import http.client
import socket
import time
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from prometheus_client import Counter

PATH = "/v1/traces"
TIMEOUT = 2.0
"""Seconds for one batch; it is spent in the exporting thread only."""
REST = 5.0
"""Seconds without attempts after a failure."""
UNIX = "unix:"

DROPPED = Counter("datalabs_spans_dropped_total", "Spans that no collector took.")


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(self.timeout)
        try:
            connection.connect(self._path)
        except OSError:
            connection.close()
            raise
        self.sock = connection


class OtlpExporter(SpanExporter):
    """Sends batches over one connection; after a failure it rests for some seconds and drops what comes."""

    def __init__(self, endpoint: str, *, now: Callable[[], float] = time.monotonic) -> None:
        self._endpoint = endpoint
        self._now = now
        self._connection: http.client.HTTPConnection | None = None
        self._rests_until = 0.0
        self._path = PATH
        if not endpoint.startswith(UNIX):
            path = urlsplit(endpoint).path.rstrip("/")
            self._path = path if path.endswith(PATH) else path + PATH

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send one batch; False results are only counted."""
        if self._now() >= self._rests_until and self._send(encode_spans(spans).SerializeToString()):
            return SpanExportResult.SUCCESS
        DROPPED.inc(len(spans))
        return SpanExportResult.FAILURE

    def shutdown(self) -> None:
        """Close the connection."""
        self._close()

    def force_flush(self, timeout_millis: int = 0) -> bool:
        """Nothing is kept back."""
        del timeout_millis
        return True

    def _send(self, body: bytes) -> bool:
        reused = self._connection is not None
        try:
            return self._post(body)
        except (OSError, http.client.HTTPException):
            self._close()
        # A connection that was kept open may have been closed by a collector that restarted: once more, on a new one.
        if reused:
            try:
                return self._post(body)
            except (OSError, http.client.HTTPException):
                self._close()
        self._rests_until = self._now() + REST
        return False

    def _post(self, body: bytes) -> bool:
        if self._connection is None:
            self._connection = self._connect()
        self._connection.request("POST", self._path, body, {"Content-Type": "application/x-protobuf"})
        answer = self._connection.getresponse()
        answer.read()
        return answer.status < http.client.BAD_REQUEST

    def _connect(self) -> http.client.HTTPConnection:
        if self._endpoint.startswith(UNIX):
            return _UnixConnection(self._endpoint.removeprefix(UNIX), TIMEOUT)
        address = urlsplit(self._endpoint)
        kind = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
        return kind(address.hostname or "localhost", address.port, timeout=TIMEOUT)

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
