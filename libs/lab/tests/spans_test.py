import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from datalabs_lab.spans import process_started_ns, send_span

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    received: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            received.append({"path": self.path, "headers": dict(self.headers), "body": json.loads(body)})
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv(
        "OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}/api/v1/telemetry"
    )
    monkeypatch.setenv("TRACEPARENT", f"00-{TRACE}-{PARENT}-01")
    yield received
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_span_joins_the_launchs_trace(collector: list[dict[str, Any]]) -> None:
    sender = send_span("lab.start", 1, 2, {"notebook": "a.ipynb"})
    assert sender is not None
    sender.join()
    [request] = collector
    assert request["path"] == "/api/v1/telemetry/v1/traces"
    [span] = request["body"]["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert (span["traceId"], span["parentSpanId"]) == (TRACE, PARENT)
    assert (span["startTimeUnixNano"], span["endTimeUnixNano"]) == ("1", "2")
    assert len(span["spanId"]) == 16


def test_nobody_listening_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("TRACEPARENT", f"00-{TRACE}-{PARENT}-01")
    sender = send_span("lab.start", 1, 2)
    assert sender is not None
    sender.join()


def test_when_the_process_began() -> None:
    assert 0 < time.time_ns() - process_started_ns() < 3600 * 1e9
