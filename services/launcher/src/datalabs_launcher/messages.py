"""NATS in: who may ask, one call of the domain, the reply."""

from dataclasses import dataclass

from datalabs_contracts.base import Nothing, Page, PageQuery
from datalabs_contracts.datalabs import Readiness
from datalabs_contracts.labs import (
    Capacity,
    ExtendLab,
    Lab,
    LabRef,
    LabsQuery,
    LaunchLab,
    Logs,
    LogsQuery,
    Metrics,
    Preflight,
    RestartLab,
    Route,
    StopLab,
    Timeline,
    TimelineQuery,
)
from datalabs_contracts.people import PersonQuery, Role
from datalabs_contracts.problems import ProblemCode, ProblemError
from datalabs_contracts.rpc import (
    DELETE_LAB,
    EXTEND_LAB,
    GET_CAPACITY,
    GET_LAB,
    GET_LOGS,
    GET_METRICS,
    GET_PERSON,
    GET_ROUTE,
    GET_TIMELINE,
    LAUNCH_LAB,
    LIST_LABS,
    LIST_READINESS,
    PREFLIGHT,
    RESTART_LAB,
    STOP_LAB,
)
from datalabs_contracts.streams import LAUNCHER_ENVIRONMENTS
from datalabs_launcher.access import lab_for, listed_owner, stop_reason
from datalabs_launcher.environments import Environments
from datalabs_launcher.errors import LabMovedError
from datalabs_launcher.launches import Launches, Owner
from datalabs_launcher.samples import Samples
from datalabs_launcher.views import Views
from datalabs_launcher.wishes import Wishes
from datalabs_runtime import telemetry
from datalabs_runtime.database import Database
from datalabs_runtime.messaging import Call, Event, Messaging
from datalabs_runtime.rpc import RpcClient

CROWD = 32
"""Requests of one hot operation that are worked on at once; the database pool bounds what they do together."""


@dataclass(frozen=True, kw_only=True)
class Handlers:
    """One method an operation."""

    database: Database
    launches: Launches
    wishes: Wishes
    views: Views
    samples: Samples
    environments: Environments
    rpc: RpcClient

    async def launch_lab(self, request: LaunchLab, call: Call) -> Lab:
        """Launch for the person of the assertion."""
        owner = await self._owner(call)
        return (await self.launches.launch(request, owner, telemetry.traceparent())).contract()

    async def preflight(self, request: LaunchLab, call: Call) -> Preflight:
        """Say what a launch would meet."""
        return await self.launches.preflight(request.body, await self._owner(call))

    async def get_lab(self, request: LabRef, call: Call) -> Lab:
        """Return one lab."""
        return (await lab_for(self.database, call.identity, request.lab_id)).contract()

    async def list_labs(self, request: LabsQuery, call: Call) -> Page[Lab]:
        """Return a page of labs."""
        return await self.views.page(request, listed_owner(call.identity, request.owner))

    async def stop_lab(self, request: StopLab, call: Call) -> Lab:
        """End a lab."""
        record = await lab_for(self.database, call.identity, request.lab_id)
        reason = stop_reason(call.identity, record, request.reason)
        return (await self.wishes.stop(record, reason, actor=call.identity.username)).contract()

    async def restart_lab(self, request: RestartLab, call: Call) -> Lab:
        """Run an ended lab again."""
        record = await lab_for(self.database, call.identity, request.lab_id)
        actor, traceparent = call.identity.username, telemetry.traceparent()
        try:
            again = await self.launches.restart(record, request.size, actor=actor, traceparent=traceparent)
        except LabMovedError:
            raise ProblemError(ProblemCode.CONFLICT, "The lab was restarted at this moment.") from None
        return again.contract()

    async def extend_lab(self, request: ExtendLab, call: Call) -> Lab:
        """Move the expiry."""
        record = await lab_for(self.database, call.identity, request.lab_id)
        return (await self.wishes.extend(record, request.seconds, actor=call.identity.username)).contract()

    async def delete_lab(self, request: LabRef, call: Call) -> Lab:
        """Stop, then hide."""
        record = await lab_for(self.database, call.identity, request.lab_id, deleted=True)
        reason = stop_reason(call.identity, record, None)
        return (await self.wishes.delete(record, reason, actor=call.identity.username)).contract()

    async def get_timeline(self, request: TimelineQuery, call: Call) -> Timeline:
        """Return the phases of an attempt."""
        record = await lab_for(self.database, call.identity, request.lab_id)
        return await self.views.timeline(record, request.attempt)

    async def get_logs(self, request: LogsQuery, call: Call) -> Logs:
        """Return the last log lines of an attempt."""
        record = await lab_for(self.database, call.identity, request.lab_id)
        return await self.views.logs(record, request.attempt, request.lines)

    async def get_metrics(self, request: LabRef, call: Call) -> Metrics:
        """Return the recent samples."""
        record = await lab_for(self.database, call.identity, request.lab_id)
        return self.samples.of(record.id)

    async def get_route(self, request: LabRef, call: Call) -> Route:
        """Return where a live lab answers."""
        return self.views.route(await lab_for(self.database, call.identity, request.lab_id))

    async def get_capacity(self, request: Nothing, call: Call) -> Capacity:
        """Return what the cluster has left."""
        del request, call
        return await self.views.capacity()

    async def list_readiness(self, request: PageQuery, call: Call) -> Page[Readiness]:
        """Return how far the environments are."""
        del call
        return await self.views.readiness(request)

    async def catalogue_changed(self, event: Event) -> None:
        """Prepare what was published; looking again changes nothing when there is nothing new."""
        del event
        self.environments.refresh()

    async def _owner(self, call: Call) -> Owner:
        """Return for whom a lab is to run: a person, never a service.

        Raises `ProblemError` (forbidden).
        """
        identity = call.identity
        if identity.service is not None:
            raise ProblemError(ProblemCode.FORBIDDEN, "Labs are launched for people.")
        uid = identity.uid
        if uid is None:
            person = await self.rpc.call(GET_PERSON, PersonQuery(username=identity.username))
            uid = person.uid
        return Owner(username=identity.username, uid=uid, unlimited=Role.OPERATOR in identity.roles)


def register(messaging: Messaging, handlers: Handlers) -> None:
    """Declare all operations and consumers of the launcher."""
    messaging.serve(LAUNCH_LAB, handlers.launch_lab, workers=CROWD)
    messaging.serve(PREFLIGHT, handlers.preflight)
    messaging.serve(GET_LAB, handlers.get_lab, workers=CROWD)
    messaging.serve(LIST_LABS, handlers.list_labs)
    messaging.serve(STOP_LAB, handlers.stop_lab, workers=CROWD)
    messaging.serve(RESTART_LAB, handlers.restart_lab)
    messaging.serve(EXTEND_LAB, handlers.extend_lab)
    messaging.serve(DELETE_LAB, handlers.delete_lab)
    messaging.serve(GET_TIMELINE, handlers.get_timeline)
    messaging.serve(GET_LOGS, handlers.get_logs)
    messaging.serve(GET_METRICS, handlers.get_metrics)
    messaging.serve(GET_ROUTE, handlers.get_route, workers=CROWD)
    messaging.serve(GET_CAPACITY, handlers.get_capacity)
    messaging.serve(LIST_READINESS, handlers.list_readiness)
    messaging.consume(LAUNCHER_ENVIRONMENTS, handlers.catalogue_changed)
