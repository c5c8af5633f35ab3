"""Accounts, for operators."""

from fastapi import APIRouter, Response

from datalabs_contracts.base import Page
from datalabs_contracts.ids import Username
from datalabs_contracts.people import CreatedPerson, NewPerson, PeopleQuery, Person
from datalabs_contracts.problems import ProblemCode
from datalabs_contracts.rpc import LIST_PEOPLE
from datalabs_contracts.usage import LimitsBody, PersonLimits
from datalabs_gateway.routes.doors import CallerOf, GatewayOf, OperatorRoute, refusals, reply
from datalabs_gateway.routes.parameters import Cursor, IdempotencyKey, Limit

routes = APIRouter(tags=["people"], route_class=OperatorRoute)


@routes.post(
    "/people",
    response_model=CreatedPerson,
    status_code=201,
    summary="Make an account",
    responses=refusals(
        ProblemCode.FORBIDDEN,
        ProblemCode.FOREIGN_ORIGIN,
        ProblemCode.USERNAME_TAKEN,
        ProblemCode.WEAK_PASSWORD,
        ProblemCode.IDEMPOTENCY_MISMATCH,
        ProblemCode.CONFLICT,
    ),
)
async def create_person(
    caller: CallerOf, gateway: GatewayOf, body: NewPerson, idempotency_key: IdempotencyKey = None
) -> Response:
    """Make an account; without a password one is made and shown this once."""
    created = await gateway.people.create(caller, body, idempotency_key)
    return reply(created, 201, headers={"cache-control": "no-store"})


@routes.get(
    "/people",
    response_model=Page[Person],
    summary="Accounts",
    responses=refusals(ProblemCode.FORBIDDEN, ProblemCode.INVALID_CURSOR),
)
async def list_people(
    caller: CallerOf,
    gateway: GatewayOf,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """Return the accounts by user name."""
    return reply(await gateway.ask(LIST_PEOPLE, PeopleQuery(limit=limit, cursor=cursor), caller))


@routes.get(
    "/people/{username}/limits",
    response_model=PersonLimits,
    summary="What somebody may have",
    responses=refusals(ProblemCode.FORBIDDEN, ProblemCode.NOT_FOUND),
)
async def get_person_limits(caller: CallerOf, gateway: GatewayOf, username: Username) -> Response:
    """Return what a person may have at once, what of it is used, and where it differs from the site's."""
    return reply(await gateway.people.limits_of(username, caller))


@routes.put(
    "/people/{username}/limits",
    response_model=PersonLimits,
    summary="Set what somebody may have",
    responses=refusals(ProblemCode.FORBIDDEN, ProblemCode.FOREIGN_ORIGIN, ProblemCode.NOT_FOUND),
)
async def set_person_limits(
    caller: CallerOf, gateway: GatewayOf, username: Username, body: LimitsBody
) -> Response:
    """Set what a person may have at once: all of it, missing maxima are the site's. Labs that run go on."""
    return reply(await gateway.people.set_limits(username, body, caller))
