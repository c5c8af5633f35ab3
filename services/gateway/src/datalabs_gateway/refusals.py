"""Refusals on their way out: every error becomes an RFC 9457 problem document."""

from collections.abc import MutableMapping
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from datalabs_contracts.problems import PROBLEM_MEDIA_TYPE, FieldProblem, ProblemCode, ProblemError

SCOPE_TRACE = "datalabs.trace_id"
SCOPE_CODE = "datalabs.code"

_BY_STATUS = {
    401: ProblemCode.NOT_SIGNED_IN,
    403: ProblemCode.FORBIDDEN,
    404: ProblemCode.NOT_FOUND,
    405: ProblemCode.METHOD_NOT_ALLOWED,
    413: ProblemCode.BODY_TOO_LARGE,
}


def problem_response(
    error: ProblemError, scope: MutableMapping[str, Any], headers: dict[str, str] | None = None
) -> Response:
    """Return the HTTP response of a refusal; its code is left in the scope for logs and metrics."""
    scope[SCOPE_CODE] = error.code
    document = error.document(scope.get(SCOPE_TRACE))
    sent = {"cache-control": "no-store", **(headers or {})}
    if error.retry_after is not None:
        sent["retry-after"] = str(max(1, round(error.retry_after)))
    allowed = error.extra.get("allow")
    if error.code is ProblemCode.METHOD_NOT_ALLOWED and isinstance(allowed, str):
        sent["allow"] = allowed
    return Response(
        document.model_dump_json().encode(),
        status_code=document.status,
        media_type=PROBLEM_MEDIA_TYPE,
        headers=sent,
    )


def of_validation(error: RequestValidationError) -> ProblemError:
    """Return the refusal of a request that is not of the expected form, field by field."""
    fields = [
        FieldProblem(pointer=_pointer(item["loc"]), detail=_sentence(item)) for item in error.errors()[:50]
    ]
    detail = "; ".join(f"{field.pointer}: {field.detail}" for field in fields[:3])
    return ProblemError(ProblemCode.INVALID_REQUEST, detail, errors=fields)


def of_http_error(error: HTTPException) -> ProblemError:
    """Return the refusal of what the framework refused by itself: unknown addresses, methods, broken bodies."""
    code = _BY_STATUS.get(error.status_code)
    if code is ProblemCode.METHOD_NOT_ALLOWED:
        return ProblemError(code, allow=(error.headers or {}).get("Allow", ""))
    if code is ProblemCode.NOT_FOUND:
        return ProblemError(code, "There is nothing at this address.")
    if code is None:
        code = ProblemCode.INVALID_REQUEST if error.status_code < 500 else ProblemCode.INTERNAL_ERROR  # noqa: PLR2004
    return ProblemError(code, error.detail)


def _pointer(location: tuple[int | str, ...]) -> str:
    """Return a JSON pointer (RFC 6901); query and header parameters stand under their place's name."""
    place, *path = location
    parts = path if place == "body" else [place, *path]
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def _sentence(item: Any) -> str:
    if item["type"] == "extra_forbidden":
        return "This field is not known here."
    if item["type"] == "json_invalid":
        return f"The body is not JSON: {item.get('ctx', {}).get('error', '')}."
    message: str = item["msg"]
    return message
