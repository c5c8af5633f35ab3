"""The platform's facts as an AsyncAPI 3.0 document, made from the event table."""

from typing import Any

from pydantic.json_schema import models_json_schema

from datalabs_contracts.events import (
    EVENT_TYPES,
    HEADER_CAUSATION,
    HEADER_CONTENT_TYPE,
    HEADER_CORRELATION,
    HEADER_DEDUPLICATION,
    HEADER_ID,
    HEADER_SOURCE,
    HEADER_SPECVERSION,
    HEADER_SUBJECT,
    HEADER_TIME,
    HEADER_TRACEPARENT,
    HEADER_TYPE,
    EventType,
)
from datalabs_contracts.streams import EVENTS

TITLE = "Open Datalabs: facts"
DESCRIPTION = """\
What happens on the platform, as CloudEvents 1.0 in binary mode: attributes are NATS headers, data is JSON.

Sign in as the read-only user `subscriber`; address and password lie in `credentials.json` of the state folder. Facts
are stored in the JetStream stream `EVENTS`, so that an ordered consumer can also read what was said before. A fact
may arrive more than once and out of order: keep the highest `revision` of each entity. Within a version of a type
fields are only added; ignore those that you do not know, and types that you do not know.
"""

Document = dict[str, Any]


def document(version: str) -> Document:
    """Return the AsyncAPI document of all event types."""
    _, schemas = models_json_schema(
        [(model, "serialization") for model in {event.data: None for event in EVENT_TYPES}],
        ref_template="#/components/schemas/{model}",
    )
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": TITLE,
            "version": version,
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "platform": {
                "host": "{host}",
                "protocol": "nats",
                "description": "The platform's NATS server.",
                "variables": {"host": {"default": "127.0.0.1:4222", "description": "Host and port."}},
                "security": [{"$ref": "#/components/securitySchemes/subscriber"}],
            }
        },
        "channels": {_name(event): _channel(event) for event in EVENT_TYPES},
        "operations": {
            f"publish.{_name(event)}": {
                "action": "send",
                "channel": {"$ref": f"#/channels/{_name(event)}"},
                "summary": event.summary,
                "messages": [{"$ref": f"#/channels/{_name(event)}/messages/{event.type}"}],
            }
            for event in EVENT_TYPES
        },
        "components": {
            "messages": {event.type: _message(event) for event in EVENT_TYPES},
            "messageTraits": {"cloudEvent": {"headers": _headers()}},
            "schemas": schemas.get("$defs", {}),
            "securitySchemes": {"subscriber": {"type": "userPassword", "description": "User `subscriber`."}},
        },
    }


def _name(event: EventType) -> str:
    return f"{event.entity}.{event.fact}"


def _channel(event: EventType) -> Document:
    return {
        "address": f"events.{event.entity}.{{id}}.{event.fact}",
        "description": event.summary,
        "parameters": {"id": {"description": f"The {event.entity}'s id; `*` for all."}},
        "messages": {event.type: {"$ref": f"#/components/messages/{event.type}"}},
        "x-jetstream-stream": EVENTS.name,
    }


def _message(event: EventType) -> Document:
    return {
        "name": event.type,
        "title": f"{event.entity} {event.fact}",
        "summary": event.summary,
        "contentType": "application/json",
        "traits": [{"$ref": "#/components/messageTraits/cloudEvent"}],
        "payload": {"$ref": f"#/components/schemas/{event.data.__name__}"},
    }


def _headers() -> Document:
    described: dict[str, tuple[str, Document]] = {
        HEADER_SPECVERSION: ("CloudEvents version.", {"const": "1.0"}),
        HEADER_ID: ("The event's id; the same again is the same event.", {}),
        HEADER_TYPE: ("The event's type and version.", {"enum": [event.type for event in EVENT_TYPES]}),
        HEADER_SOURCE: ("The service that says it.", {"format": "uri-reference"}),
        HEADER_SUBJECT: ("The entity's id.", {}),
        HEADER_TIME: ("When it happened.", {"format": "date-time"}),
        HEADER_CONTENT_TYPE: ("Media type of the data.", {"const": "application/json"}),
        HEADER_DEDUPLICATION: ("The event's id, by which the stream drops repetitions.", {}),
        HEADER_TRACEPARENT: ("W3C trace context of the cause.", {}),
        HEADER_CORRELATION: ("What belongs to one wish of somebody has one id.", {}),
        HEADER_CAUSATION: ("The event that led to this one.", {}),
    }
    optional = {HEADER_TRACEPARENT, HEADER_CORRELATION, HEADER_CAUSATION}
    return {
        "type": "object",
        "properties": {
            name: {"type": "string", "description": text, **more} for name, (text, more) in described.items()
        },
        "required": [name for name in described if name not in optional],
    }
