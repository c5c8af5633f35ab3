"""The FastAPI application: routes, and every refusal as a problem document."""

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from datalabs_contracts.problems import ProblemCode, ProblemError
from datalabs_gateway.openapi import operation_id
from datalabs_gateway.refusals import of_http_error, of_validation, problem_response
from datalabs_gateway.routes import (
    catalogue,
    cluster,
    contracts,
    data,
    events,
    labs,
    operations,
    people,
    sessions,
    telemetry,
)

PREFIX = "/api/v1"


def build_api() -> FastAPI:
    """Return the application; what its routes work with comes with each request's scope."""
    api = FastAPI(
        title="Open Datalabs",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=operation_id,
    )
    for routes in (
        sessions.public,
        sessions.routes,
        catalogue.routes,
        labs.routes,
        data.routes,
        events.routes,
        people.routes,
        operations.routes,
        cluster.routes,
        telemetry.routes,
        contracts.routes,
    ):
        api.include_router(routes, prefix=PREFIX)
    api.include_router(contracts.health)
    api.add_exception_handler(ProblemError, _refused)
    api.add_exception_handler(RequestValidationError, _not_valid)
    api.add_exception_handler(HTTPException, _http_error)
    api.add_exception_handler(Exception, _mistake)
    return api


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)
    return problem_response(error, request.scope)


async def _not_valid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return problem_response(of_validation(error), request.scope)


async def _mistake(request: Request, _error: Exception) -> Response:
    """Say nothing of what went wrong; Starlette raises the error on, and the border reports it."""
    return problem_response(ProblemError(ProblemCode.INTERNAL_ERROR), request.scope)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return problem_response(of_http_error(error), request.scope)
