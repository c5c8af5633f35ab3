"""The AsyncAPI document and the other generated files."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from datalabs_contracts import asyncapi, generate
from datalabs_contracts.events import EVENT_TYPES, EventType
from datalabs_contracts.problems import ProblemCode

ROOT = Path(__file__).parents[3]
DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return asyncapi.document("0.0.0")


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for name, value in node.items():
            if name == "$ref":
                yield value
            else:
                yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def resolve(document: dict[str, Any], reference: str) -> Any:
    node: Any = document
    for step in reference.removeprefix("#/").split("/"):
        node = node[step]
    return node


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    found = set(references(document))
    assert found
    for reference in found:
        assert resolve(document, reference)


def test_every_type_has_a_channel_a_message_and_an_operation(document: dict[str, Any]) -> None:
    assert document["asyncapi"] == "3.0.0"
    for event in EVENT_TYPES:
        name = f"{event.entity}.{event.fact}"
        assert document["channels"][name]["address"].replace("{id}", "x") == event.subject("x")
        assert document["operations"][f"publish.{name}"]["action"] == "send"
        assert document["components"]["messages"][event.type]["name"] == event.type


@pytest.mark.parametrize("event", EVENT_TYPES, ids=lambda event: event.type)
def test_the_golden_facts_fit_the_documents_schemas(document: dict[str, Any], event: EventType) -> None:
    stored = json.loads((DATA / f"{event.type}.json").read_text())
    message = document["components"]["messages"][event.type]
    jsonschema.Draft202012Validator({**document, **message["payload"]}).validate(stored["data"])
    headers = document["components"]["messageTraits"]["cloudEvent"]["headers"]
    jsonschema.Draft202012Validator(headers).validate(stored["headers"])


@pytest.mark.parametrize("name", sorted(generate.files()))
def test_the_generated_files_are_up_to_date(name: str) -> None:
    assert (ROOT / "docs" / name).read_text() == generate.files()[name], "run `make contracts`"


def test_generating_writes_all_files(tmp_path: Path) -> None:
    generate.main(tmp_path / "docs")
    assert {file.name for file in (tmp_path / "docs").iterdir()} == set(generate.files())


def test_every_code_is_listed() -> None:
    page = generate.problems_page()
    assert all(f"| `{code}` |" in page for code in ProblemCode)


@pytest.mark.parametrize(
    "file",
    sorted((ROOT / "content" / "datalabs").glob("*/datalab-meta.yml")),
    ids=lambda file: file.parent.name,
)
def test_the_shipped_metadata_fit_the_published_schema(file: Path) -> None:
    jsonschema.Draft202012Validator(generate.metadata_schema()).validate(yaml.safe_load(file.read_text()))
