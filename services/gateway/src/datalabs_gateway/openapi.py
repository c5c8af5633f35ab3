"""The OpenAPI 3.1 document: FastAPI's, with problem documents, security and examples as they are."""

from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic.json_schema import models_json_schema

from datalabs_contracts.datalabs import DatalabDetail
from datalabs_contracts.labs import LabFact, Sample
from datalabs_contracts.problems import CATALOGUE, Problem, ProblemCode, ProblemError
from datalabs_contracts.volumes import VolumeFact
from datalabs_gateway.examples import EXAMPLE_TRACE, REPLIES, REQUESTS
from datalabs_gateway.models import LiveEvent

SESSION_COOKIE = "__Host-datalabs-session"
_PUBLIC_TAGS = {"contracts", "health"}
_PUBLIC_PATHS = {"/api/v1/session", "/api/v1/providers", "/api/v1/telemetry"}
_REF = "#/components/schemas/{model}"
_BESIDE = (Problem, LiveEvent, LabFact, VolumeFact, Sample, DatalabDetail)
"""Models that are spoken of beside the routes' own: problem documents and the data of live events."""
_DESCRIPTION = """The public interface of Open Datalabs.

Sign in by `POST /session`; the answer sets a host-only cookie. Unsafe requests that carry it must come from the
platform's own pages. Every refusal is an RFC 9457 problem document with a stable `code` and a `trace_id`. Checks run in this
order: who asks, whether the thing is there for them (404 when not), whether the request is of the expected form. Lists
come in pages: pass `next` as `cursor`. `Idempotency-Key` makes a POST that creates safe to repeat."""


def operation_id(route: APIRoute) -> str:
    """Return the operation's id: the handler's name in camelCase."""
    first, *rest = route.name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def build_openapi(app: FastAPI) -> dict[str, Any]:
    """Return the whole document."""
    document = get_openapi(
        title="Open Datalabs",
        version=version("datalabs-gateway"),
        openapi_version="3.1.0",
        summary="Launch labs next to the data.",
        description=_DESCRIPTION,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        routes=app.routes,
    )
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    _, extra = models_json_schema([(model, "serialization") for model in _BESIDE], ref_template=_REF)
    for name, schema in extra.get("$defs", {}).items():
        schemas.setdefault(name, schema)
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    components["schemas"] = dict(sorted(schemas.items()))
    components["examples"] = {
        code.value: {
            "summary": CATALOGUE[code][1],
            "value": ProblemError(code).document(EXAMPLE_TRACE).model_dump(mode="json"),
        }
        for code in ProblemCode
    }
    components["securitySchemes"] = {
        "session": {"type": "apiKey", "in": "cookie", "name": SESSION_COOKIE},
    }
    document["security"] = [{"session": []}]
    document["servers"] = [{"url": "/", "description": "This site."}]
    for path, methods in document["paths"].items():
        for operation in methods.values():
            _complete(path, operation)
    return document


def _complete(path: str, operation: dict[str, Any]) -> None:
    name = operation["operationId"]
    if path in _PUBLIC_PATHS or _PUBLIC_TAGS.intersection(operation.get("tags", ())):
        operation["security"] = []
    request = REQUESTS.get(name)
    if request is not None:
        for content in operation["requestBody"]["content"].values():
            content["example"] = request
    answer = REPLIES.get(name)
    for status, response in operation["responses"].items():
        if status.startswith("2") and answer is not None:
            for media, content in response.get("content", {}).items():
                if media == "application/json":
                    content["example"] = answer
