"""Spans as the bytes of an OTLP request, at a quarter of the price of building protobuf's objects (measured).

Only the plain ones, as nearly all are: without events, links, trace state and attributes that are lists. The others
are left to OpenTelemetry's own encoder; as a request's only field is repeated, the two texts behind each other are one
request. Field numbers: opentelemetry-proto 1.x, `trace.proto` and `common.proto`; they are frozen.
"""

import struct
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext, SpanKind

PLAIN = frozenset({str, bool, int, float})
KINDS = {
    SpanKind.INTERNAL: 1,
    SpanKind.SERVER: 2,
    SpanKind.CLIENT: 3,
    SpanKind.PRODUCER: 4,
    SpanKind.CONSUMER: 5,
}
PAIRS = 4096
"""Attributes whose bytes are remembered: most values are of a few, ids come in runs."""
HAS_IS_REMOTE, IS_REMOTE = 0x100, 0x200
TIMES = struct.Struct("<BQBQ")
FLAGS = struct.Struct("<BBI")


def request_of(spans: Sequence[ReadableSpan]) -> bytes:
    """Return the body of an export request with these spans."""
    groups: dict[tuple[int, int], list[ReadableSpan]] = {}
    others: list[ReadableSpan] = []
    for span in spans:
        if _is_plain(span):
            groups.setdefault((id(span.resource), id(span.instrumentation_scope)), []).append(span)
        else:
            others.append(span)
    return b"".join(
        [
            *(_group(group) for group in groups.values()),
            encode_spans(others).SerializeToString() if others else b"",
        ]
    )


def _is_plain(span: ReadableSpan) -> bool:
    return (
        not span.events
        and not span.links
        and not span.dropped_attributes
        and (context := span.get_span_context()) is not None
        and not context.trace_state
        and PLAIN.issuperset(map(type, (span.attributes or {}).values()))
    )


def _group(spans: list[ReadableSpan]) -> bytes:
    """Return the `resource_spans` of spans of one resource and one scope; what is said once, OpenTelemetry says."""
    first = spans[0]
    blank = ReadableSpan(
        name="",
        context=SpanContext(1, 1, is_remote=False),
        resource=first.resource,
        instrumentation_scope=first.instrumentation_scope,
    )
    frame = encode_spans([blank]).resource_spans[0]
    scope = frame.scope_spans[0]
    del scope.spans[:]
    of_scope = scope.SerializeToString()
    del frame.scope_spans[:]
    of_resource = frame.SerializeToString()
    inner = of_scope + b"".join(_field(0x12, _span(span)) for span in spans)
    return _field(0x0A, of_resource + _field(0x12, inner))


def _span(span: ReadableSpan) -> bytes:
    context, parent, status = span.get_span_context(), span.parent, span.status
    assert context is not None  # a plain one has it
    flags = HAS_IS_REMOTE | (IS_REMOTE if parent is not None and parent.is_remote else 0)
    said = _field(0x12, _utf8(status.description)) if status.description else b""
    if status.status_code.value:
        said += bytes((0x18, status.status_code.value))
    return b"".join(
        [
            b"\x0a\x10" + context.trace_id.to_bytes(16, "big"),
            b"\x12\x08" + context.span_id.to_bytes(8, "big"),
            b"\x22\x08" + parent.span_id.to_bytes(8, "big") if parent is not None else b"",
            _field(0x2A, _utf8(span.name)),
            bytes((0x30, KINDS[span.kind])),
            TIMES.pack(0x39, span.start_time or 0, 0x41, span.end_time or 0),
            _attributes((span.attributes or {}).items()),
            _field(0x7A, said),
            FLAGS.pack(0x85, 0x01, flags),
        ]
    )


def _attributes(pairs: Iterable[tuple[str, Any]]) -> bytes:
    return b"".join([_pair(key, value) for key, value in pairs])


@lru_cache(maxsize=PAIRS, typed=True)
def _pair(key: str, value: Any) -> bytes:
    if isinstance(value, str):
        held = _field(0x0A, _utf8(value))
    elif isinstance(value, bool):
        held = bytes((0x10, value))
    elif isinstance(value, int):
        held = b"\x18" + _varint(value & 0xFFFF_FFFF_FFFF_FFFF)
    else:
        held = b"\x21" + struct.pack("<d", value)
    return _field(0x4A, _field(0x0A, _utf8(key)) + _field(0x12, held))


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "replace")  # half a surrogate pair in one attribute must not cost the others


def _field(tag: int, content: bytes) -> bytes:
    """Return a field of that tag with a length before its content."""
    length = len(content)
    if length < 0x80:  # noqa: PLR2004 - what one byte of a varint holds
        return bytes((tag, length)) + content
    return bytes((tag,)) + _varint(length) + content


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number >= 0x80:  # noqa: PLR2004 - seven bits a byte, the highest says that more follow
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)
