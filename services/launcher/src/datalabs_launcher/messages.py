"""NATS in: who may ask, one call of the domain, the reply."""

from dataclasses import dataclass

from datalabs_contracts.base import Nothing, Page, PageQuery
from datalabs_contracts.datalabs import Readiness
from datalabs_contracts.events import LIVE_INTEREST, LIVE_SAMPLE, LIVE_SEEN
from datalabs_contracts.labs import (
    Capacity,
    ExtendLab,
    KeepLab,
    Lab,
    LabPolicy,
    LabPolicyQuery,
    LabRef,
    LabsQuery,
    LaunchLab,
    Logs,
    LogsQuery,
    Metrics,
    Nodes,
    Preflight,
    PrioritiseLab,
    Queue,
    RestartLab,
    Route,
    SetLabPolicy,
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
    GET_LAB_POLICY,
    GET_LOGS,
    GET_METRICS,
    GET_PERSON,
    GET_ROUTE,
    GET_TIMELINE,
    KEEP_LAB,
    LAUNCH_LAB,
    LIST_LABS,
    LIST_NODES,
    LIST_QUEUE,
    LIST_READINESS,
    PREFLIGHT,
    PRIORITISE_LAB,
    RESTART_LAB,
    SET_LAB_POLICY,
    STOP_LAB,
)
from datalabs_contracts.streams import LAUNCHER_ENVIRONMENTS
from datalabs_launcher.access import check_operator, lab_for, listed_owner, stop_reason
from datalabs_launcher.environments import Environments
from datalabs_launcher.errors import LabMovedError
from datalabs_launcher.launches import Launches, Owner
from datalabs_launcher.policies import Policies
from datalabs_launcher.samples import Samples
from datalabs_launcher.upkeep import Upkeep
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
    policies: Policies
    views: Views
    samples: Samples
    upkeep: Upkeep
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

    async def keep_lab(self, request: KeepLab, call: Call) -> Lab:
        """Keep a lab for a long run."""
        record = await lab_for(self.database, call.identity, request.lab_id)
        return (await self.wishes.keep(record, request.until, actor=call.identity.username)).contract()

    async def prioritise_lab(self, request: PrioritiseLab, call: Call) -> Lab:
        """Move a lab in the queue."""
        check_operator(call.identity)
        record = await lab_for(self.database, call.identity, request.lab_id)
        moved = await self.wishes.prioritise(record, request.priority, actor=call.identity.username)
        return moved.contract()

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
        await self.samples.ask_for(record.id)
        return self.samples.of(record.id)

    async def get_route(self, request: LabRef, call: Call) -> Route:
        """Return where a live lab answers."""
        return self.views.route(await lab_for(self.database, call.identity, request.lab_id))

    async def get_capacity(self, request: Nothing, call: Call) -> Capacity:
        """Return what the cluster has left."""
        del request, call
        return await self.views.capacity()

    async def list_nodes(self, request: Nothing, call: Call) -> Nodes:
        """Return all machines."""
        del request
        check_operator(call.identity)
        return await self.views.nodes()

    async def list_queue(self, request: PageQuery, call: Call) -> Queue:
        """Return who waits."""
        check_operator(call.identity)
        return await self.views.queue(request)

    async def get_lab_policy(self, request: LabPolicyQuery, call: Call) -> LabPolicy:
        """Return the rules of one person's labs."""
        check_operator(call.identity)
        await self.rpc.call(GET_PERSON, PersonQuery(username=request.owner))
        return await self.policies.get(request.owner)

    async def set_lab_policy(self, request: SetLabPolicy, call: Call) -> LabPolicy:
        """Set the rules of one person's labs."""
        check_operator(call.identity)
        await self.rpc.call(GET_PERSON, PersonQuery(username=request.owner))
        return await self.policies.set(request.owner, request.policy, actor=call.identity.username)

    async def interest(self, subject: str, payload: bytes) -> None:
        """Note that somebody looks at what labs use."""
        del subject
        await self.samples.interest(payload)

    async def sample(self, subject: str, payload: bytes) -> None:
        """Keep what an instance, perhaps this one, has measured."""
        del subject
        await self.samples.heard(payload)

    async def seen(self, subject: str, payload: bytes) -> None:
        """Note that a browser uses a lab."""
        del subject
        await self.upkeep.noticed(payload)

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
    messaging.serve(KEEP_LAB, handlers.keep_lab)
    messaging.serve(PRIORITISE_LAB, handlers.prioritise_lab)
    messaging.serve(LIST_NODES, handlers.list_nodes)
    messaging.serve(LIST_QUEUE, handlers.list_queue)
    messaging.serve(GET_LAB_POLICY, handlers.get_lab_policy)
    messaging.serve(SET_LAB_POLICY, handlers.set_lab_policy)
    messaging.subscribe_core(LIVE_INTEREST, handlers.interest)
    messaging.subscribe_core(LIVE_SAMPLE.format(lab_id="*"), handlers.sample)
    messaging.subscribe_core(LIVE_SEEN.format(lab_id="*"), handlers.seen)
    messaging.serve(DELETE_LAB, handlers.delete_lab)
    messaging.serve(GET_TIMELINE, handlers.get_timeline)
    messaging.serve(GET_LOGS, handlers.get_logs)
    messaging.serve(GET_METRICS, handlers.get_metrics)
    messaging.serve(GET_ROUTE, handlers.get_route, workers=CROWD)
    messaging.serve(GET_CAPACITY, handlers.get_capacity)
    messaging.serve(LIST_READINESS, handlers.list_readiness)
    messaging.consume(LAUNCHER_ENVIRONMENTS, handlers.catalogue_changed)
