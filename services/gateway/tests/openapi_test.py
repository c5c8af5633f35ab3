"""The OpenAPI document: valid, whole, and true of what the gateway answers."""

from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from datalabs_contracts.problems import ProblemCode
from datalabs_gateway.api import build_api
from datalabs_gateway.generate import DOCS, document
from datalabs_gateway.openapi import build_openapi


def test_the_committed_document_is_the_generated_one() -> None:
    assert Path(DOCS / "openapi.gen.json").read_bytes() == document()


def test_every_operation_is_described() -> None:
    made = build_openapi(build_api())
    ids = []
    for methods in made["paths"].values():
        for operation in methods.values():
            ids.append(operation["operationId"])
            assert operation["summary"]
            assert operation["description"]
            assert operation["tags"]
            assert "default" in operation["responses"]
            for status, response in operation["responses"].items():
                if not status.startswith("2"):
                    assert list(response["content"]) == ["application/problem+json"]
    assert len(ids) == len(set(ids))
    assert all(name.isidentifier() and name[0].islower() for name in ids)
    assert set(made["components"]["examples"]) == set(ProblemCode)


def test_every_example_fits_its_schema() -> None:
    made = build_openapi(build_api())
    checked = 0
    for methods in made["paths"].values():
        for operation in methods.values():
            contents: list[dict[str, Any]] = [
                *operation.get("requestBody", {}).get("content", {}).values(),
                *(
                    content
                    for response in operation["responses"].values()
                    for content in response.get("content", {}).values()
                ),
            ]
            for content in contents:
                if "example" in content and "schema" in content:
                    schema = {**content["schema"], "components": made["components"]}
                    Draft202012Validator(schema).validate(content["example"])
                    checked += 1
    assert checked > 30
