"""The machines, the queue, and the rules of people's labs."""
# ruff: noqa: FAST003 - the dependency that finds the lab takes lab_id

from typing import Annotated

from fastapi import APIRouter, Path, Response

from datalabs_contracts.base import Nothing, PageQuery
from datalabs_contracts.ids import Username
from datalabs_contracts.labs import (
    Lab,
    LabPolicy,
    LabPolicyBody,
    LabPolicyQuery,
    Nodes,
    PrioritiseLab,
    PriorityBody,
    Queue,
    SetLabPolicy,
)
from datalabs_contracts.problems import ProblemCode
from datalabs_contracts.rpc import (
    GET_LAB_POLICY,
    LIST_NODES,
    LIST_QUEUE,
    PRIORITISE_LAB,
    SET_LAB_POLICY,
)
from datalabs_gateway.routes.doors import CallerOf, FoundLab, GatewayOf, OperatorRoute, refusals, reply
from datalabs_gateway.routes.parameters import Cursor, Limit

routes = APIRouter(tags=["operations"], route_class=OperatorRoute)
Who = Annotated[Username, Path(examples=["ada"])]


@routes.get("/nodes", response_model=Nodes, summary="The machines", responses=refusals(ProblemCode.FORBIDDEN))
async def list_nodes(caller: CallerOf, gateway: GatewayOf) -> Response:
    """Return every machine that labs can run on, its state, what it has and what is taken of it."""
    return reply(await gateway.ask(LIST_NODES, Nothing(), caller))


@routes.get(
    "/queue",
    response_model=Queue,
    summary="The queue",
    responses=refusals(ProblemCode.FORBIDDEN, ProblemCode.INVALID_CURSOR),
)
async def list_queue(
    caller: CallerOf, gateway: GatewayOf, limit: Limit = 50, cursor: Cursor = None
) -> Response:
    """Return who waits, in the order in which they are served, with reason and since when."""
    return reply(await gateway.ask(LIST_QUEUE, PageQuery(limit=limit, cursor=cursor), caller))


@routes.post(
    "/labs/{lab_id}/priority",
    response_model=Lab,
    summary="Move a lab in the queue",
    responses=refusals(
        ProblemCode.FORBIDDEN, ProblemCode.FOREIGN_ORIGIN, ProblemCode.NOT_FOUND, ProblemCode.LAB_ENDED
    ),
)
async def prioritise_lab(caller: CallerOf, gateway: GatewayOf, lab: FoundLab, body: PriorityBody) -> Response:
    """Give a lab another priority, 0 to 100; 50 is usual, and a higher one is served before all lower ones."""
    request = PrioritiseLab(lab_id=lab.id, priority=body.priority)
    return reply(await gateway.labs.change(PRIORITISE_LAB, request, caller))


@routes.get(
    "/people/{username}/lab-policy",
    response_model=LabPolicy,
    summary="Somebody's rules for labs",
    responses=refusals(ProblemCode.FORBIDDEN),
)
async def get_lab_policy(caller: CallerOf, gateway: GatewayOf, username: Who) -> Response:
    """Return where the rules for a person's labs differ from those of the datalabs and the site."""
    return reply(await gateway.ask(GET_LAB_POLICY, LabPolicyQuery(owner=username), caller))


@routes.put(
    "/people/{username}/lab-policy",
    response_model=LabPolicy,
    summary="Set somebody's rules for labs",
    responses=refusals(ProblemCode.FORBIDDEN, ProblemCode.FOREIGN_ORIGIN, ProblemCode.NOT_FOUND),
)
async def set_lab_policy(
    caller: CallerOf, gateway: GatewayOf, username: Who, body: LabPolicyBody
) -> Response:
    """Set all of a person's own rules; what is missing follows datalab and site. Running labs follow at once."""
    return reply(await gateway.ask(SET_LAB_POLICY, SetLabPolicy(owner=username, policy=body), caller))
