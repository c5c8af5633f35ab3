"""Volumes, capacity, usage."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from datalabs_contracts.base import Instant, Nothing
from datalabs_contracts.ids import Username
from datalabs_contracts.labs import Capacity
from datalabs_contracts.problems import ProblemCode, ProblemError
from datalabs_contracts.rpc import GET_CAPACITY, GET_USAGE, LIST_VOLUMES
from datalabs_contracts.usage import UsageBy, UsagePage, UsageQuery
from datalabs_contracts.volumes import Volumes, VolumesQuery
from datalabs_gateway.routes.doors import CallerOf, GatewayOf, SignedInRoute, refusals, reply
from datalabs_gateway.routes.parameters import Cursor

routes = APIRouter(tags=["data"], route_class=SignedInRoute)


@routes.get("/volumes", response_model=Volumes, summary="My volumes", responses=refusals())
async def list_volumes(
    *,
    caller: CallerOf,
    gateway: GatewayOf,
    measure: Annotated[bool, Query(description="Measure what is used anew.")] = False,
) -> Response:
    """Return the caller's volumes with what is used of them."""
    query = VolumesQuery(owner=caller.username, measure=measure)
    return reply(await gateway.ask(LIST_VOLUMES, query, caller))


@routes.get("/capacity", response_model=Capacity, summary="What is free", responses=refusals())
async def get_capacity(caller: CallerOf, gateway: GatewayOf) -> Response:
    """Return what the cluster has, what of it is taken, and how many labs wait."""
    return reply(await gateway.ask(GET_CAPACITY, Nothing(), caller))


@routes.get(
    "/usage",
    response_model=UsagePage,
    summary="What was used",
    responses=refusals(ProblemCode.FORBIDDEN, ProblemCode.INVALID_CURSOR),
)
async def get_usage(
    *,
    caller: CallerOf,
    gateway: GatewayOf,
    since: Annotated[Instant | None, Query(alias="from", description="From this moment on.")] = None,
    until: Annotated[Instant | None, Query(alias="to", description="Up to this moment.")] = None,
    by: Annotated[UsageBy, Query(description="How it is grouped.")] = UsageBy.LAB,
    owner: Annotated[Username | None, Query(description="Operators: somebody else's usage.")] = None,
    all: Annotated[bool, Query(description="Operators: everybody's usage.")] = False,  # noqa: A002
    limit: Annotated[int, Query(ge=1, le=500)] = 200,
    cursor: Cursor = None,
) -> Response:
    """Return the ledger grouped by lab, day, size or datalab, in seconds, core-seconds and GiB-seconds."""
    if since and until and until < since:
        raise ProblemError(ProblemCode.INVALID_REQUEST, "`to` lies before `from`.")
    whose = gateway.labs.whose(caller, owner=owner, everybody=all)
    query = UsageQuery(owner=whose, since=since, until=until, by=by, limit=limit, cursor=cursor)
    return reply(await gateway.ask(GET_USAGE, query, caller))
