"""OTLP/HTTP bodies into spans: protobuf and JSON (opentelemetry-proto 1.x). Pure.

What comes in may be from inside a lab, so everything is bounded here: ids, times, texts, counts.
"""

import base64
import binascii
import json
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

from google.protobuf.json_format import ParseDict, ParseError  # type: ignore[import-untyped]
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from datalabs_observer.errors import UnreadableTelemetryError
from datalabs_observer.models import LAUNCH_TRACE, KeptSpan, storable

PROTOBUF = "application/x-protobuf"
JSON = "application/json"
KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")
STATUSES = ("unset", "ok", "error")
TEXT_LENGTH = 4096
ATTRIBUTES = 128
EVENTS = 64
DEPTH = 4
TRACE_ID_BYTES = 16
SPAN_ID_BYTES = 8
HEX_DIGITS = frozenset("0123456789abcdef")
NANOSECONDS = 1_000_000_000
FUTURE = timedelta(hours=1)
"""How far a sender's clock may be ahead; spans from later would never grow old."""
ROW_BYTES = 300
"""What a row and its index entries take beside its texts, about."""


def parse(body: bytes, content_type: str) -> ExportTraceServiceRequest:
    """Return the request that a body holds.

    Raises `UnreadableTelemetryError`.
    """
    if content_type == JSON:
        return _from_json(body)
    try:
        request: ExportTraceServiceRequest = ExportTraceServiceRequest.FromString(body)
    except DecodeError as error:
        raise UnreadableTelemetryError("the body is not an ExportTraceServiceRequest") from error
    return request


def spans(
    request: ExportTraceServiceRequest, *, now: datetime, oldest: timedelta
) -> tuple[list[KeptSpan], int]:
    """Return the spans of a request, and how many were refused for impossible ids or times."""
    kept: list[KeptSpan] = []
    refused = 0
    from_ns = int((now - oldest).timestamp()) * NANOSECONDS
    until_ns = int((now + FUTURE).timestamp()) * NANOSECONDS
    for resource, raw in _each(request):
        span = _span(resource, raw)
        if span is None or not from_ns <= span.start_ns <= until_ns:
            refused += 1
        else:
            kept.append(span)
    return kept, refused


def _each(request: ExportTraceServiceRequest) -> Iterator[tuple[dict[str, Any], Any]]:
    for resource_spans in request.resource_spans:
        resource = _attributes(resource_spans.resource.attributes)
        for scope_spans in resource_spans.scope_spans:
            for raw in scope_spans.spans:
                yield resource, raw


def _span(resource: dict[str, Any], raw: Any) -> KeptSpan | None:
    if len(raw.trace_id) != TRACE_ID_BYTES or len(raw.span_id) != SPAN_ID_BYTES:
        return None
    if not any(raw.trace_id) or not any(raw.span_id):
        return None
    inherited = {key: value for key, value in resource.items() if key.startswith("datalabs.")}
    attributes = inherited | _attributes(raw.attributes)
    parent = raw.parent_span_id if len(raw.parent_span_id) == SPAN_ID_BYTES else b""
    start_ns = raw.start_time_unix_nano
    trace_id = raw.trace_id.hex()
    return KeptSpan(
        trace_id=trace_id,
        span_id=raw.span_id.hex(),
        parent_id=parent.hex() if any(parent) else None,
        joins=_other_trace(attributes.get(LAUNCH_TRACE), trace_id),
        name=_text(raw.name),
        kind=KINDS[raw.kind] if 0 <= raw.kind < len(KINDS) else KINDS[0],
        service=_text(str(resource.get("service.name", "unknown"))),
        start_ns=start_ns,
        end_ns=min(max(raw.end_time_unix_nano, start_ns), 2**63 - 1),
        status=STATUSES[raw.status.code] if 0 <= raw.status.code < len(STATUSES) else STATUSES[0],
        status_message=_text(raw.status.message),
        attributes=attributes,
        events=[
            {
                "name": _text(event.name),
                "time_ns": event.time_unix_nano,
                "attributes": _attributes(event.attributes),
            }
            for event in raw.events[:EVENTS]
        ],
        bytes=ROW_BYTES + raw.ByteSize(),
    )


def _other_trace(value: Any, own: str) -> str | None:
    good = isinstance(value, str) and len(value) == 2 * TRACE_ID_BYTES and HEX_DIGITS.issuperset(value)
    return value if good and value != own else None


def _attributes(pairs: Iterable[Any], depth: int = 0) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for pair in pairs:
        if len(kept) == ATTRIBUTES:
            break
        kept[_text(pair.key)] = _value(pair.value, depth)
    return kept


def _value(value: Any, depth: int) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value" and depth < DEPTH:
        return [_value(item, depth + 1) for item in value.array_value.values[:ATTRIBUTES]]
    if kind == "kvlist_value" and depth < DEPTH:
        return _attributes(value.kvlist_value.values, depth + 1)
    convert = SCALARS.get(kind)
    return convert(getattr(value, kind)) if convert else None


def _text(text: str) -> str:
    cut: str = storable(text if len(text) <= TEXT_LENGTH else text[:TEXT_LENGTH])
    return cut


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw[:TEXT_LENGTH]).decode()


SCALARS: dict[str | None, Callable[[Any], Any]] = {
    "string_value": _text,
    "bool_value": bool,
    "int_value": int,
    "double_value": storable,
    "bytes_value": _base64,
}


def _from_json(body: bytes) -> ExportTraceServiceRequest:
    """Read OTLP/JSON, whose ids are hexadecimal where protobuf's own JSON has base64."""
    try:
        document = json.loads(body)
        for resource_spans in document.get("resourceSpans", []):
            for scope_spans in resource_spans.get("scopeSpans", []):
                for span in scope_spans.get("spans", []):
                    _ids_to_base64(span)
                    for link in span.get("links", []):
                        _ids_to_base64(link)
        request = ExportTraceServiceRequest()
        ParseDict(document, request, ignore_unknown_fields=True)
    except (ValueError, AttributeError, TypeError, ParseError, RecursionError, binascii.Error) as error:
        raise UnreadableTelemetryError("the body is not OTLP in JSON") from error
    return request


def _ids_to_base64(item: dict[str, Any]) -> None:
    for key in ("traceId", "spanId", "parentSpanId"):
        if item.get(key):
            item[key] = base64.b64encode(bytes.fromhex(item[key])).decode()
