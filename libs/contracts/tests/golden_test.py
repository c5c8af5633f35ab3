"""Every version of every fact, as it stands in one file: what was said once must be readable for ever."""

import json
from pathlib import Path
from typing import Any

import pytest

from datalabs_contracts.events import (
    BY_TYPE,
    ENTITY_OWNERS,
    EVENT_TYPES,
    HEADER_SOURCE,
    HEADER_SUBJECT,
    HEADER_TYPE,
    SOURCE_BASE,
    EventType,
)
from datalabs_contracts.rpc import SERVICES

DATA = Path(__file__).parent / "data"
FILES = sorted(DATA.glob("*.json"))


def golden(event: EventType) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((DATA / f"{event.type}.json").read_text())
    return content


def missing(expected: Any, given: Any, path: str = "") -> list[str]:
    """Return what of `expected` is not in `given`; fields that were added are no loss."""
    if isinstance(expected, dict):
        return [
            lost
            for name, value in expected.items()
            for lost in (
                missing(value, given[name], f"{path}/{name}")
                if isinstance(given, dict) and name in given
                else [f"{path}/{name}"]
            )
        ]
    return [] if expected == given else [path]


def test_every_type_has_its_file_and_every_file_its_type() -> None:
    assert {file.stem for file in FILES} == {event.type for event in EVENT_TYPES}


@pytest.mark.parametrize("event", EVENT_TYPES, ids=lambda event: event.type)
def test_a_stored_fact_is_read_whole_and_written_again(event: EventType) -> None:
    stored = golden(event)
    read = event.data.model_validate(stored["data"])
    assert missing(stored["data"], json.loads(read.model_dump_json())) == []


@pytest.mark.parametrize("event", EVENT_TYPES, ids=lambda event: event.type)
def test_fields_of_later_releases_are_ignored(event: EventType) -> None:
    later = golden(event)["data"] | {"invented_later": {"a": 1}}
    assert event.data.model_validate(later) == event.data.model_validate(golden(event)["data"])


@pytest.mark.parametrize("event", EVENT_TYPES, ids=lambda event: event.type)
def test_subject_and_headers_say_the_same(event: EventType) -> None:
    stored = golden(event)
    headers = stored["headers"]
    assert BY_TYPE[headers[HEADER_TYPE]] is event
    assert stored["subject"] == event.subject(headers[HEADER_SUBJECT])
    assert headers[HEADER_SOURCE] == SOURCE_BASE + ENTITY_OWNERS[event.entity]


@pytest.mark.parametrize("event", EVENT_TYPES, ids=lambda event: event.type)
def test_every_fact_carries_revision_owner_and_actor(event: EventType) -> None:
    data = golden(event)["data"]
    assert data["revision"] >= 1
    assert data["actor"]
    assert data.get("owner") or data.get("username")


def test_ids_that_a_subject_cannot_hold_keep_its_four_tokens() -> None:
    event = EVENT_TYPES[0]
    assert event.subject("a.b *>c") == f"events.{event.entity}.a_b___c.{event.fact}"


def test_every_entity_has_an_owner_among_the_services() -> None:
    assert {event.entity for event in EVENT_TYPES} == set(ENTITY_OWNERS)
    assert set(ENTITY_OWNERS.values()) <= set(SERVICES)


def test_a_lost_field_would_be_seen() -> None:
    assert missing({"a": {"b": 1}}, {"a": {}}) == ["/a/b"]
    assert missing({"a": 1}, {"a": 2, "c": 3}) == ["/a"]
