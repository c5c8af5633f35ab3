"""Live events as server-sent events."""

from typing import Annotated

from fastapi import APIRouter, Header, Query, Response
from starlette.responses import StreamingResponse

from datalabs_contracts.problems import ProblemCode, ProblemError
from datalabs_gateway.models import LiveEvent, SamplesWish
from datalabs_gateway.routes.doors import CallerOf, GatewayOf, SignedInRoute, refusals

routes = APIRouter(tags=["events"], route_class=SignedInRoute)


@routes.get(
    "/events",
    response_class=StreamingResponse,
    summary="Live events",
    responses={
        **refusals(ProblemCode.FORBIDDEN),
        200: {
            "description": "Server-sent events that end with the session.",
            "model": LiveEvent,
            "content": {
                "text/event-stream": {
                    "schema": {"type": "string", "description": "Each `data` is a `LiveEvent`."},
                    "example": 'id: 5f2c9a-17\nevent: lab\ndata: {"entity":"lab","fact":"ready"}\n\n',
                }
            },
        },
    },
)
async def follow_events(
    caller: CallerOf,
    gateway: GatewayOf,
    last_event_id: Annotated[str | None, Header(alias="Last-Event-ID", max_length=100)] = None,
    all: Annotated[bool, Query(description="Operators: everybody's events.")] = False,  # noqa: A002, FBT002
    samples: Annotated[bool, Query(description="Whether figures are wanted.")] = True,  # noqa: FBT002
) -> Response:
    """Stream the caller's labs, volumes and notices as they change.

    Event names are entities; `hello` carries the id to resume from, `reset` says that everything must be read
    again, both name the `stream`; `sample` (a `Sample`) has no id. `Last-Event-ID` resumes within ten minutes.
    """
    if all and not caller.is_operator:
        raise ProblemError(ProblemCode.FORBIDDEN, "Only operators may follow everybody's events.")
    return StreamingResponse(
        gateway.live.stream(caller, last_event_id=last_event_id, everything=all, samples=samples),
        media_type="text/event-stream",
        headers={"cache-control": "no-store", "x-accel-buffering": "no"},
    )


@routes.put(
    "/events/samples",
    status_code=204,
    summary="Have figures in an open event stream, or not",
    responses=refusals(ProblemCode.NOT_FOUND, ProblemCode.FOREIGN_ORIGIN),
)
async def want_samples(caller: CallerOf, gateway: GatewayOf, body: SamplesWish) -> Response:
    """Begin or cease to send `sample`s in a stream that stays open: a page that nobody sees needs none."""
    if not gateway.live.want_samples(caller, body.stream, wanted=body.wanted):
        raise ProblemError(ProblemCode.NOT_FOUND, "You have no such event stream open.")
    return Response(status_code=204)
