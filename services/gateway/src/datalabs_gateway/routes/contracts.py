"""The generated contracts and health."""

from fastapi import APIRouter, Request, Response

from datalabs_contracts.problems import ProblemCode, ProblemError
from datalabs_gateway.models import Health
from datalabs_gateway.routes.doors import gateway_of, refusals, reply

routes = APIRouter(tags=["contracts"])
health = APIRouter(tags=["health"])


@routes.get("/openapi.json", summary="This interface as OpenAPI 3.1", responses=refusals(signed_in=False))
async def get_openapi(request: Request) -> Response:
    """Return the document that describes this interface."""
    return Response(await gateway_of(request).contracts.openapi(), media_type="application/json")


@routes.get(
    "/asyncapi.json",
    summary="The platform's events as AsyncAPI",
    responses=refusals(ProblemCode.NOT_FOUND, signed_in=False),
)
async def get_asyncapi(request: Request) -> Response:
    """Return the document that describes the events and where they are published."""
    document = await gateway_of(request).contracts.asyncapi()
    if document is None:
        raise ProblemError(ProblemCode.NOT_FOUND, "This installation ships no AsyncAPI document.")
    return Response(document, media_type="application/json")


@health.get(
    "/health/live", response_model=Health, summary="Does it live", responses=refusals(signed_in=False)
)
async def get_liveness() -> Response:
    """Answer while the process can."""
    return reply(Health(status="ok"))


@health.get(
    "/health/ready", response_model=Health, summary="Is it ready", responses=refusals(signed_in=False)
)
async def get_readiness(request: Request) -> Response:
    """Answer 200 when requests are welcome, else 503 with what is missing."""
    state = await gateway_of(request).readiness()
    return reply(state, 200 if state.status == "ok" else 503)
