"""Sign in, sign out, who am I, which ways to sign in there are."""

from fastapi import APIRouter, Request, Response

from datalabs_contracts.labs import Limits
from datalabs_contracts.people import SignIn
from datalabs_contracts.problems import ProblemCode
from datalabs_gateway.callers import address_of
from datalabs_gateway.cookies import SESSION, clear_cookie, set_cookie
from datalabs_gateway.models import Me, Provider, ProviderKind, Providers, Site
from datalabs_gateway.routes.doors import CallerOf, GatewayOf, SignedInRoute, gateway_of, refusals, reply

public = APIRouter(tags=["session"])
routes = APIRouter(tags=["session"], route_class=SignedInRoute)


@public.post(
    "/session",
    response_model=Me,
    summary="Sign in",
    responses=refusals(ProblemCode.WRONG_CREDENTIALS, ProblemCode.FOREIGN_ORIGIN, signed_in=False),
)
async def sign_in(request: Request, body: SignIn) -> Response:
    """Sign in with a local account; the answer sets the session cookie, which stays unchanged until sign-out."""
    gateway = gateway_of(request)
    caller, secret = await gateway.sessions.begin(body, address_of(request.scope))
    me = await gateway.people.me(caller)
    seconds = (caller.expires_at - gateway.clock.now()).total_seconds()
    cookie = set_cookie(SESSION, secret, seconds=seconds)
    return reply(me, headers={"set-cookie": cookie, "cache-control": "no-store"})


@public.delete(
    "/session",
    status_code=204,
    summary="Sign out",
    responses=refusals(ProblemCode.FOREIGN_ORIGIN, signed_in=False),
)
async def sign_out(request: Request) -> Response:
    """End the session of the cookie and every entry to a lab that was made with it; repeating it does no harm."""
    await gateway_of(request).sign_out(request.scope)
    return Response(
        status_code=204, headers={"set-cookie": clear_cookie(SESSION), "cache-control": "no-store"}
    )


@public.get(
    "/providers",
    response_model=Providers,
    summary="Ways to sign in",
    responses=refusals(signed_in=False),
)
async def list_providers(request: Request) -> Response:
    """Return what the sign-in page shows: the site's name and each way to sign in."""
    site = gateway_of(request).site
    local = Provider(id="local", title="User name and password", kind=ProviderKind.PASSWORD)
    return reply(Providers(site_name=site.name, items=[local]))


@routes.get("/me", response_model=Me, summary="Who am I", responses=refusals())
async def get_me(caller: CallerOf, gateway: GatewayOf) -> Response:
    """Return the caller with roles, teams and limits."""
    return reply(await gateway.people.me(caller))


@routes.get("/limits", response_model=Limits, summary="My limits", responses=refusals())
async def get_limits(caller: CallerOf, gateway: GatewayOf) -> Response:
    """Return what the caller may have at once and what of it is used."""
    return reply(await gateway.people.limits(caller))


@routes.get("/config", response_model=Site, summary="This site", responses=refusals())
async def get_config(caller: CallerOf, gateway: GatewayOf) -> Response:
    """Return what the dashboard must know of this site, the scheduler's notices among it."""
    return reply(await gateway.describe_site(caller))
