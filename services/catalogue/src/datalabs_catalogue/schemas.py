"""JSON Schema for launch parameters: defaults filled, faults with JSON pointers, nothing fetched from anywhere."""

import copy
from typing import Any

from jsonschema import Draft202012Validator, SchemaError
from jsonschema.exceptions import ValidationError
from referencing import Registry
from referencing.exceptions import Unresolvable

from datalabs_contracts.problems import FieldProblem

MOST_FAULTS = 20
DEEPEST = 32
NOWHERE: Registry[Any] = Registry()
"""Knows no other document, so that a `$ref` cannot make the platform fetch one."""


def faults(schema: dict[str, Any]) -> list[str]:
    """Return what is wrong with a schema of parameters; none for a good or an empty one."""
    if not schema:
        return []
    try:
        Draft202012Validator.check_schema(schema)
    except (SchemaError, RecursionError) as error:
        return [str(getattr(error, "message", "nested too deeply"))]
    if schema.get("type") != "object":
        return ["the type must be object"]
    try:
        return [
            f"the default of {problem.pointer.removeprefix('/')} does not fit: {problem.detail}"
            for problem in problems_of(schema, with_defaults(schema, {}))
            if not problem.detail.endswith("is missing.")
        ]
    except (Unresolvable, RecursionError) as error:
        return [f"a reference leads nowhere: {type(error).__name__}"]


def with_defaults(schema: dict[str, Any], given: dict[str, Any], depth: int = 0) -> dict[str, Any]:
    """Return the parameters with the schema's defaults where nothing was given, in nested objects too."""
    filled = copy.deepcopy(given)
    properties = schema.get("properties")
    if not isinstance(properties, dict) or depth > DEEPEST:
        return filled
    for name, inner in properties.items():
        if not isinstance(inner, dict):
            continue
        if name not in filled and "default" in inner:
            filled[name] = copy.deepcopy(inner["default"])
        if isinstance(filled.get(name), dict):
            filled[name] = with_defaults(inner, filled[name], depth + 1)
    return filled


def problems_of(schema: dict[str, Any], parameters: dict[str, Any]) -> list[FieldProblem]:
    """Return what does not fit, each with the JSON pointer of its place; what a schema does not name is refused."""
    closed = {"additionalProperties": False, **schema} if schema else {"additionalProperties": False}
    validator = Draft202012Validator(
        closed, registry=NOWHERE, format_checker=Draft202012Validator.FORMAT_CHECKER
    )
    found: list[FieldProblem] = []
    for error in sorted(
        validator.iter_errors(parameters), key=lambda each: (list(map(str, each.path)), each.message)
    ):
        found += _told(error)
        if len(found) >= MOST_FAULTS:
            break
    return found[:MOST_FAULTS]


def _told(error: ValidationError) -> list[FieldProblem]:
    place = [str(part) for part in error.absolute_path]
    if error.validator == "required" and isinstance(error.instance, dict):
        required: Any = error.validator_value
        missing = [name for name in required if name not in error.instance]
        # One error is raised for each missing name; only its text tells which.
        named = [name for name in missing if repr(name) in error.message] or missing
        return [
            FieldProblem(pointer=_pointer([*place, name]), detail=f"{name} is missing.") for name in named
        ]
    if error.validator == "additionalProperties" and isinstance(error.instance, dict):
        known = error.schema.get("properties", {}) if isinstance(error.schema, dict) else {}
        extra = [name for name in error.instance if name not in known]
        return [
            FieldProblem(pointer=_pointer([*place, name]), detail=f"There is no parameter {name!r}.")
            for name in extra
        ]
    return [FieldProblem(pointer=_pointer(place), detail=f"{error.message[:300]}.")]


def _pointer(parts: list[str]) -> str:
    """Return a JSON pointer (RFC 6901) into the launch request, whose member `parameters` this is."""
    return "/parameters" + "".join(f"/{part.replace('~', '~0').replace('/', '~1')}" for part in parts)
