"""OTLP/HTTP bodies of senders that are not trusted: read, bounded, and marked with who sent them."""

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

from google.protobuf.json_format import ParseDict, ParseError  # type: ignore[import-untyped]
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from datalabs_contracts.problems import ProblemCode, ProblemError

JSON = "application/json"
PROTOBUF = "application/x-protobuf"
SPANS = 256
"""Spans of one body; more are cut off."""
DEEPEST = 40
"""Levels of nesting in a JSON body; an attribute needs few."""
RESERVED = "datalabs."
_IDS = ("traceId", "spanId", "parentSpanId")


def read(body: bytes, media_type: str) -> ExportTraceServiceRequest:
    """Return the request in a body.

    Raises ProblemError `invalid_request`.
    """
    try:
        if media_type == JSON:
            request = ExportTraceServiceRequest()
            ParseDict(_with_ids(json.loads(body), 0), request, ignore_unknown_fields=True)
            return request
        if media_type == PROTOBUF:
            request = ExportTraceServiceRequest()
            request.ParseFromString(body)
            return request
    except (ValueError, ParseError, DecodeError, RecursionError, TypeError, AttributeError) as error:
        raise ProblemError(ProblemCode.INVALID_REQUEST, "The body is no OTLP trace request.") from error
    raise ProblemError(ProblemCode.INVALID_REQUEST, f"Send spans as {JSON} or {PROTOBUF}.")


def mark(request: ExportTraceServiceRequest, marks: Mapping[str, str]) -> int:
    """Set the server's own attributes over the sender's, cut off what is too much; return how many spans are left.

    Whatever is named as ours is taken out: by `datalabs.…` the observer joins spans to labs and launches.
    """
    left = SPANS
    for resource in request.resource_spans:
        _clean(resource.resource.attributes, marks)
        resource.resource.attributes.extend(
            KeyValue(key=name, value=AnyValue(string_value=value)) for name, value in marks.items()
        )
        for scope in resource.scope_spans:
            del scope.spans[max(left, 0) :]
            left -= len(scope.spans)
            for span in scope.spans:
                _clean(span.attributes, marks)
    return SPANS - left


def _clean(attributes: Any, marks: Mapping[str, str]) -> None:
    kept = [
        attribute
        for attribute in attributes
        if attribute.key not in marks and not attribute.key.startswith(RESERVED)
    ]
    if len(kept) != len(attributes):
        del attributes[:]
        attributes.extend(kept)


def _with_ids(value: Any, depth: int) -> Any:
    """OTLP's JSON writes ids in hexadecimal where protobuf's JSON wants base64."""
    if depth > DEEPEST:
        raise ValueError("nested too deep")
    if isinstance(value, dict):
        return {
            name: _base64_of(item) if name in _IDS else _with_ids(item, depth + 1)
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [_with_ids(item, depth + 1) for item in value]
    return value


def _base64_of(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("an id is no text")
    try:
        return base64.b64encode(bytes.fromhex(value)).decode()
    except binascii.Error as error:
        raise ValueError("an id is not hexadecimal") from error
