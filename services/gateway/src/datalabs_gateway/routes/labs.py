"""Labs: launch, read, open, end."""
# ruff: noqa: FAST003 - the dependency that finds the lab takes lab_id

from typing import Annotated

from fastapi import APIRouter, Body, Query, Request, Response

from datalabs_contracts.base import Page
from datalabs_contracts.ids import Username
from datalabs_contracts.labs import (
    ExtendBody,
    ExtendLab,
    KeepBody,
    KeepLab,
    Lab,
    LabRef,
    LaunchBody,
    LaunchLab,
    Logs,
    LogsQuery,
    Metrics,
    Preflight,
    RestartBody,
    StopLab,
    Timeline,
    TimelineQuery,
)
from datalabs_contracts.problems import ProblemCode
from datalabs_contracts.rpc import (
    DELETE_LAB,
    EXTEND_LAB,
    GET_LOGS,
    GET_METRICS,
    GET_TIMELINE,
    KEEP_LAB,
    PREFLIGHT,
    STOP_LAB,
)
from datalabs_gateway.models import Opened
from datalabs_gateway.routes.doors import CallerOf, FoundLab, GatewayOf, SignedInRoute, refusals, reply
from datalabs_gateway.routes.parameters import Attempt, Cursor, IdempotencyKey, Limit

routes = APIRouter(tags=["labs"], route_class=SignedInRoute)

LAUNCH_REFUSALS = (
    ProblemCode.FOREIGN_ORIGIN,
    ProblemCode.UNKNOWN_DATALAB,
    ProblemCode.UNKNOWN_VERSION,
    ProblemCode.UNKNOWN_SIZE,
    ProblemCode.UNKNOWN_COLLECTION,
    ProblemCode.INVALID_PARAMETERS,
    ProblemCode.RUNTIME_UNAVAILABLE,
    ProblemCode.FORBIDDEN,
)
CHANGE_REFUSALS = (ProblemCode.FOREIGN_ORIGIN, ProblemCode.NOT_FOUND, ProblemCode.CONFLICT)


@routes.post(
    "/labs:preflight",
    response_model=Preflight,
    summary="Would a launch fit",
    responses=refusals(*LAUNCH_REFUSALS),
)
async def preflight_lab(caller: CallerOf, gateway: GatewayOf, body: LaunchBody) -> Response:
    """Return whether a launch would fit now, what it would take and how long; nothing is started."""
    return reply(await gateway.ask(PREFLIGHT, LaunchLab(body=body), caller))


@routes.post(
    "/labs",
    response_model=Lab,
    status_code=202,
    summary="Launch a lab",
    responses=refusals(
        *LAUNCH_REFUSALS,
        ProblemCode.QUOTA_EXCEEDED,
        ProblemCode.TOO_MANY_QUEUED,
        ProblemCode.NEVER_FITS,
        ProblemCode.IDEMPOTENCY_MISMATCH,
        ProblemCode.DISK_FULL,
        ProblemCode.BODY_TOO_LARGE,
    ),
)
async def launch_lab(
    caller: CallerOf, gateway: GatewayOf, body: LaunchBody, idempotency_key: IdempotencyKey = None
) -> Response:
    """Ask for a lab; it is stored before the answer and never forgotten. Follow it by `GET /events`."""
    lab = await gateway.labs.launch(LaunchLab(body=body, idempotency_key=idempotency_key), caller)
    return reply(lab, 202, headers={"location": f"/api/v1/labs/{lab.id}"})


@routes.get(
    "/labs",
    response_model=Page[Lab],
    summary="Labs",
    responses=refusals(ProblemCode.INVALID_CURSOR, ProblemCode.FORBIDDEN),
)
async def list_labs(
    *,
    caller: CallerOf,
    gateway: GatewayOf,
    include_ended: Annotated[bool, Query(description="Ended ones too.")] = True,
    owner: Annotated[Username | None, Query(description="Operators: somebody else's labs.")] = None,
    all: Annotated[bool, Query(description="Operators: everybody's labs.")] = False,  # noqa: A002
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """Return the caller's labs, newest first."""
    whose = gateway.labs.whose(caller, owner=owner, everybody=all)
    page = await gateway.labs.list(
        caller, owner=whose, include_ended=include_ended, limit=limit, cursor=cursor
    )
    return Response(page, media_type="application/json")


@routes.get(
    "/labs/{lab_id}", response_model=Lab, summary="One lab", responses=refusals(ProblemCode.NOT_FOUND)
)
async def get_lab(lab: FoundLab) -> Response:
    """Return a lab as it is now."""
    return reply(lab)


@routes.delete(
    "/labs/{lab_id}",
    response_model=Lab,
    status_code=202,
    summary="Delete a lab",
    responses=refusals(*CHANGE_REFUSALS),
)
async def delete_lab(caller: CallerOf, gateway: GatewayOf, lab: FoundLab) -> Response:
    """Stop a lab in whatever state it is, then take it off the list; its files in the home stay."""
    return reply(await gateway.labs.change(DELETE_LAB, LabRef(lab_id=lab.id), caller), 202)


@routes.post(
    "/labs/{lab_id}/open",
    response_model=Opened,
    summary="Open a lab",
    responses=refusals(
        *CHANGE_REFUSALS, ProblemCode.LAB_NOT_READY, ProblemCode.LAB_ENDED, ProblemCode.FORBIDDEN
    ),
)
async def open_lab(request: Request, caller: CallerOf, gateway: GatewayOf, lab: FoundLab) -> Response:
    """Return an address on the lab's own origin that lets this browser in, once and within a minute."""
    url = await gateway.entries.open(lab, caller, request.headers.get("host", ""))
    return reply(Opened(url=url), headers={"cache-control": "no-store"})


@routes.post(
    "/labs/{lab_id}/stop",
    response_model=Lab,
    status_code=202,
    summary="Stop a lab",
    responses=refusals(*CHANGE_REFUSALS, ProblemCode.LAB_ENDED),
)
async def stop_lab(caller: CallerOf, gateway: GatewayOf, lab: FoundLab) -> Response:
    """Ask a lab to end; it is `stopped` once nothing of it runs."""
    return reply(await gateway.labs.change(STOP_LAB, StopLab(lab_id=lab.id), caller), 202)


@routes.post(
    "/labs/{lab_id}/restart",
    response_model=Lab,
    status_code=202,
    summary="Restart a lab",
    responses=refusals(
        *CHANGE_REFUSALS,
        ProblemCode.LAB_STILL_RUNNING,
        ProblemCode.QUOTA_EXCEEDED,
        ProblemCode.NEVER_FITS,
        ProblemCode.TOO_MANY_QUEUED,
        ProblemCode.UNKNOWN_SIZE,
        ProblemCode.RUNTIME_UNAVAILABLE,
        ProblemCode.IDEMPOTENCY_MISMATCH,
        ProblemCode.DISK_FULL,
    ),
)
async def restart_lab(
    caller: CallerOf,
    gateway: GatewayOf,
    lab: FoundLab,
    body: Annotated[RestartBody | None, Body()] = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Run an ended lab again under the same id, as a new attempt."""
    restarted = await gateway.labs.restart(lab, body or RestartBody(), caller, idempotency_key)
    return reply(restarted, 202)


@routes.post(
    "/labs/{lab_id}/extend",
    response_model=Lab,
    summary="Extend a lab",
    responses=refusals(*CHANGE_REFUSALS, ProblemCode.LAB_ENDED, ProblemCode.EXTENSION_TOO_LONG),
)
async def extend_lab(
    caller: CallerOf, gateway: GatewayOf, lab: FoundLab, body: Annotated[ExtendBody | None, Body()] = None
) -> Response:
    """Move a lab's expiry: to so many seconds from now, by default by the site's step."""
    seconds = body.seconds if body else None
    return reply(await gateway.labs.change(EXTEND_LAB, ExtendLab(lab_id=lab.id, seconds=seconds), caller))


@routes.post(
    "/labs/{lab_id}/keep",
    response_model=Lab,
    summary="Keep a lab for a long run",
    responses=refusals(
        *CHANGE_REFUSALS,
        ProblemCode.LAB_ENDED,
        ProblemCode.LAB_NOT_READY,
        ProblemCode.EXTENSION_TOO_LONG,
    ),
)
async def keep_lab(
    caller: CallerOf, gateway: GatewayOf, lab: FoundLab, body: Annotated[KeepBody | None, Body()] = None
) -> Response:
    """Let a lab run until a moment, however idle it looks, within the site's bound; without one end that wish."""
    until = body.until if body else None
    return reply(await gateway.labs.change(KEEP_LAB, KeepLab(lab_id=lab.id, until=until), caller))


@routes.get(
    "/labs/{lab_id}/timeline",
    response_model=Timeline,
    summary="A launch as a timeline",
    responses=refusals(ProblemCode.NOT_FOUND),
)
async def get_timeline(
    caller: CallerOf, gateway: GatewayOf, lab: FoundLab, attempt: Attempt = None
) -> Response:
    """Return the stored transitions of one attempt, phase by phase."""
    return reply(await gateway.ask(GET_TIMELINE, TimelineQuery(lab_id=lab.id, attempt=attempt), caller))


@routes.get(
    "/labs/{lab_id}/logs",
    response_model=Logs,
    summary="The end of a log",
    responses=refusals(ProblemCode.NOT_FOUND),
)
async def get_logs(
    caller: CallerOf,
    gateway: GatewayOf,
    lab: FoundLab,
    attempt: Attempt = None,
    lines: Annotated[int, Query(ge=1, le=2000, description="How many lines at most.")] = 200,
) -> Response:
    """Return the last lines that an attempt wrote."""
    query = LogsQuery(lab_id=lab.id, attempt=attempt, lines=lines)
    return reply(await gateway.ask(GET_LOGS, query, caller))


@routes.get(
    "/labs/{lab_id}/metrics",
    response_model=Metrics,
    summary="CPU and memory",
    responses=refusals(ProblemCode.NOT_FOUND),
)
async def get_metrics(caller: CallerOf, gateway: GatewayOf, lab: FoundLab) -> Response:
    """Return a lab's recent samples, oldest first; new ones come by `GET /events` as `sample`."""
    return reply(await gateway.ask(GET_METRICS, LabRef(lab_id=lab.id), caller))
