"""What operators watch: stored events, traces, dead letters, the platform's parts."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from datalabs_contracts.base import Instant, Nothing, Page, PageQuery
from datalabs_contracts.datalabs import ImportProblem
from datalabs_contracts.observations import (
    DeadLetter,
    DeadLetterRef,
    DeadLettersQuery,
    EventsQuery,
    PlatformHealth,
    Span,
    StoredEvent,
    TraceQuery,
    TracesQuery,
    TraceSummary,
)
from datalabs_contracts.problems import ProblemCode, ProblemError
from datalabs_contracts.rpc import (
    GET_HEALTH,
    GET_TRACE,
    LIST_DEAD_LETTERS,
    LIST_EVENTS,
    LIST_IMPORT_PROBLEMS,
    LIST_TRACES,
    REPLAY_DEAD_LETTER,
)
from datalabs_gateway.routes.doors import CallerOf, GatewayOf, OperatorRoute, refusals, reply
from datalabs_gateway.routes.parameters import Cursor, Limit

routes = APIRouter(tags=["operations"], route_class=OperatorRoute)

TRACE_ID_DIGITS = 32
Word = Annotated[str | None, Query(max_length=100)]


@routes.get(
    "/events/history",
    response_model=Page[StoredEvent],
    summary="Stored events",
    responses=refusals(ProblemCode.FORBIDDEN, ProblemCode.INVALID_CURSOR),
)
async def list_stored_events(
    *,
    caller: CallerOf,
    gateway: GatewayOf,
    entity: Word = None,
    entity_id: Word = None,
    fact: Word = None,
    owner: Word = None,
    trace_id: Word = None,
    since: Annotated[Instant | None, Query(alias="from")] = None,
    until: Annotated[Instant | None, Query(alias="to")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """Return stored events, newest first."""
    query = EventsQuery(
        entity=entity,
        entity_id=entity_id,
        fact=fact,
        owner=owner,
        trace_id=trace_id,
        since=since,
        until=until,
        limit=limit,
        cursor=cursor,
    )
    return reply(await gateway.ask(LIST_EVENTS, query, caller))


@routes.get(
    "/traces",
    response_model=Page[TraceSummary],
    summary="Traces",
    responses=refusals(ProblemCode.FORBIDDEN, ProblemCode.INVALID_CURSOR),
)
async def list_traces(
    *,
    caller: CallerOf,
    gateway: GatewayOf,
    lab_id: Word = None,
    service: Annotated[
        str | None, Query(max_length=100, description="A service that took part.", examples=["edge"])
    ] = None,
    name: Annotated[
        str | None,
        Query(
            max_length=200,
            description="The name of one of its spans: `launch` finds the launches.",
            examples=["launch"],
        ),
    ] = None,
    errors_only: bool = False,
    min_seconds: Annotated[float | None, Query(ge=0)] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """Return recent traces, newest first."""
    query = TracesQuery(
        lab_id=lab_id,
        service=service,
        name=name,
        errors_only=errors_only,
        min_seconds=min_seconds,
        limit=limit,
        cursor=cursor,
    )
    return reply(await gateway.ask(LIST_TRACES, query, caller))


@routes.get(
    "/traces/{trace_id}",
    response_model=Page[Span],
    summary="One trace",
    responses=refusals(ProblemCode.FORBIDDEN, ProblemCode.NOT_FOUND),
)
async def get_trace(
    caller: CallerOf,
    gateway: GatewayOf,
    trace_id: Annotated[str, Path(examples=["4bf92f3577b34da6a3ce929d0e0e4736"])],
    limit: Limit = 200,
    cursor: Cursor = None,
) -> Response:
    """Return the spans of a trace, oldest first."""
    if len(trace_id) != TRACE_ID_DIGITS or not set(trace_id) <= set("0123456789abcdef"):
        raise ProblemError(ProblemCode.NOT_FOUND, "There is no such trace.")
    return reply(
        await gateway.ask(GET_TRACE, TraceQuery(trace_id=trace_id, limit=limit, cursor=cursor), caller)
    )


@routes.get(
    "/dead-letters",
    response_model=Page[DeadLetter],
    summary="Dead letters",
    responses=refusals(ProblemCode.FORBIDDEN, ProblemCode.INVALID_CURSOR),
)
async def list_dead_letters(
    caller: CallerOf, gateway: GatewayOf, limit: Limit = 50, cursor: Cursor = None
) -> Response:
    """Return the messages that a handler gave up on, newest first."""
    return reply(await gateway.ask(LIST_DEAD_LETTERS, DeadLettersQuery(limit=limit, cursor=cursor), caller))


@routes.post(
    "/dead-letters/{dead_letter_id}/replay",
    response_model=DeadLetter,
    status_code=202,
    summary="Replay a dead letter",
    responses=refusals(
        ProblemCode.FORBIDDEN, ProblemCode.FOREIGN_ORIGIN, ProblemCode.NOT_FOUND, ProblemCode.CONFLICT
    ),
)
async def replay_dead_letter(
    caller: CallerOf, gateway: GatewayOf, dead_letter_id: Annotated[str, Path(max_length=200)]
) -> Response:
    """Hand a dead letter to its consumer again."""
    return reply(await gateway.ask(REPLAY_DEAD_LETTER, DeadLetterRef(id=dead_letter_id), caller), 202)


@routes.get(
    "/platform",
    response_model=PlatformHealth,
    summary="The platform's parts",
    responses=refusals(ProblemCode.FORBIDDEN),
)
async def get_platform(caller: CallerOf, gateway: GatewayOf) -> Response:
    """Return each part of the platform and how it does."""
    return reply(await gateway.ask(GET_HEALTH, Nothing(), caller))


@routes.get(
    "/catalogue/problems",
    response_model=Page[ImportProblem],
    summary="What is wrong with the catalogue's folders",
    responses=refusals(ProblemCode.FORBIDDEN, ProblemCode.INVALID_CURSOR),
)
async def list_import_problems(
    caller: CallerOf, gateway: GatewayOf, limit: Limit = 50, cursor: Cursor = None
) -> Response:
    """Return the folders that could not be read into the catalogue, each with what is wrong and since when."""
    return reply(await gateway.ask(LIST_IMPORT_PROBLEMS, PageQuery(limit=limit, cursor=cursor), caller))
