import base64
import json
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from datalabs_observer import otlp
from datalabs_observer.errors import UnreadableTelemetryError
from datalabs_observer.models import KeptSpan

NOW = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)
NOW_NS = int(NOW.timestamp()) * 10**9
TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"


def attribute(key: str, **value: Any) -> dict[str, Any]:
    return {"key": key, "value": value}


def span(**changes: Any) -> dict[str, Any]:
    return {
        "traceId": TRACE,
        "spanId": SPAN,
        "name": "POST /api/v1/labs",
        "kind": 2,
        "startTimeUnixNano": str(NOW_NS),
        "endTimeUnixNano": str(NOW_NS + 5_000_000),
    } | changes


def document(*spans: dict[str, Any], resource: list[dict[str, Any]] | None = None) -> bytes:
    attributes = resource or [attribute("service.name", stringValue="gateway")]
    return json.dumps(
        {"resourceSpans": [{"resource": {"attributes": attributes}, "scopeSpans": [{"spans": list(spans)}]}]}
    ).encode()


def read(body: bytes, kind: str = otlp.JSON) -> tuple[list[KeptSpan], int]:
    return otlp.spans(otlp.parse(body, kind), now=NOW, oldest=timedelta(days=14))


def only(*arguments: dict[str, Any], **changes: Any) -> KeptSpan:
    kept, refused = read(document(*(arguments or (span(**changes),))))
    assert refused == 0
    (one,) = kept
    return one


def test_a_span_is_read_from_json_with_hexadecimal_ids() -> None:
    one = only(
        parentSpanId="00f067aa0ba902b7",
        status={"code": 2, "message": "no"},
        attributes=[
            attribute("http.status", intValue="503"),
            attribute("ok", boolValue=False),
            attribute("ratio", doubleValue=0.5),
            attribute("list", arrayValue={"values": [{"stringValue": "a"}]}),
            attribute("map", kvlistValue={"values": [attribute("b", stringValue="c")]}),
            attribute("bytes", bytesValue=base64.b64encode(b"x").decode()),
            attribute("datalabs.lab.id", stringValue="abcdefghjk"),
        ],
        events=[{"name": "retry", "timeUnixNano": str(NOW_NS), "attributes": []}],
    )
    assert {key: value for key, value in asdict(one).items() if key != "bytes"} == {
        "trace_id": TRACE,
        "span_id": SPAN,
        "parent_id": "00f067aa0ba902b7",
        "joins": None,
        "name": "POST /api/v1/labs",
        "kind": "server",
        "service": "gateway",
        "start_ns": NOW_NS,
        "end_ns": NOW_NS + 5_000_000,
        "status": "error",
        "status_message": "no",
        "attributes": {
            "http.status": 503,
            "ok": False,
            "ratio": 0.5,
            "list": ["a"],
            "map": {"b": "c"},
            "bytes": "eA==",
            "datalabs.lab.id": "abcdefghjk",
        },
        "events": [{"name": "retry", "time_ns": NOW_NS, "attributes": {}}],
    }


def test_protobuf_and_json_say_the_same() -> None:
    body = document(span())
    protobuf = otlp.parse(body, otlp.JSON).SerializeToString()
    assert read(protobuf, otlp.PROTOBUF) == read(body)


def test_the_lab_of_a_resource_counts_for_all_its_spans() -> None:
    resource = [
        attribute("service.name", stringValue="jupyterlab"),
        attribute("datalabs.lab.id", stringValue="abcdefghjk"),
    ]
    kept, _ = read(document(span(), resource=resource))
    assert kept[0].attributes["datalabs.lab.id"] == "abcdefghjk"


@pytest.mark.parametrize(
    ("value", "joins"),
    [("4bf92f3577b34da6a3ce929d0e0e4736", "4bf92f3577b34da6a3ce929d0e0e4736"), (TRACE, None), ("x", None)],
)
def test_a_visit_joins_the_trace_of_its_launch(value: str, joins: str | None) -> None:
    assert only(attributes=[attribute("datalabs.launch_trace_id", stringValue=value)]).joins == joins


@pytest.mark.parametrize(
    "changes",
    [
        {"traceId": "00" * 16},
        {"traceId": "abcd"},
        {"spanId": ""},
        {"spanId": "00" * 8},
        {"startTimeUnixNano": "0"},
        {"startTimeUnixNano": str(NOW_NS + 2 * 3600 * 10**9)},
        {"startTimeUnixNano": str(2**64 - 1)},
    ],
)
def test_a_span_with_impossible_ids_or_times_is_refused(changes: dict[str, Any]) -> None:
    assert read(document(span(**changes), span())) == ([only()], 1)


def test_everything_is_bounded() -> None:
    deep: dict[str, Any] = {"stringValue": "x"}
    for _ in range(20):
        deep = {"arrayValue": {"values": [deep]}}
    one = only(
        name="n" * 10_000,
        endTimeUnixNano=str(2**64 - 1),
        kind=99,
        attributes=[attribute(f"a{number}", stringValue="v" * 5000) for number in range(200)],
        events=[{"name": "e", "timeUnixNano": "1"}] * 200,
    )
    assert (len(one.name), len(one.attributes), len(one.events)) == (4096, 128, 64)
    assert (one.end_ns, one.kind) == (2**63 - 1, "unspecified")
    assert only(attributes=[{"key": "deep", "value": deep}]).attributes


def test_texts_that_no_database_takes_are_cleaned() -> None:
    request = ExportTraceServiceRequest()
    request.ParseFromString(otlp.parse(document(span()), otlp.JSON).SerializeToString())
    raw = request.resource_spans[0].scope_spans[0].spans[0]
    raw.name = "a\0b"
    raw.attributes.add(key="k\0").value.double_value = float("nan")
    kept, _ = otlp.spans(request, now=NOW, oldest=timedelta(days=14))
    assert kept[0].name == "a\N{REPLACEMENT CHARACTER}b"
    assert kept[0].attributes == {"k\N{REPLACEMENT CHARACTER}": "nan"}


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"\xff\xff\xff", otlp.PROTOBUF),
        (b"{", otlp.JSON),
        (b"[]", otlp.JSON),
        (b'{"resourceSpans": 1}', otlp.JSON),
        (b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "xyz"}]}]}]}', otlp.JSON),
        (b"[" * 100_000, otlp.JSON),
    ],
)
def test_what_is_no_otlp_is_said_to_be_none(body: bytes, kind: str) -> None:
    with pytest.raises(UnreadableTelemetryError):
        otlp.parse(body, kind)
