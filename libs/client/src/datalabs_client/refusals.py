"""Refusals as the platform words them."""

import httpx2
from pydantic import ValidationError

from datalabs_contracts.problems import Problem, ProblemCode, ProblemError

_SERVER_ERRORS = 500


def problem_of(response: httpx2.Response) -> ProblemError:
    """Return the refusal that an answer is; its body has been read."""
    try:
        return ProblemError.from_document(Problem.model_validate_json(response.content))
    except ValidationError:
        unavailable = response.status_code >= _SERVER_ERRORS
        code = ProblemCode.SERVICE_UNAVAILABLE if unavailable else ProblemCode.INVALID_REQUEST
        return ProblemError(code, f"{response.request.url} answered {response.status_code}")
