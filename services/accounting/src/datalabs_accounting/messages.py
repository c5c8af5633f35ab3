"""What accounting answers and hears over NATS."""

from datalabs_accounting.ledger import Ledger
from datalabs_accounting.reservations import Reservations
from datalabs_accounting.usage import Usage
from datalabs_contracts import rpc
from datalabs_contracts.base import Nothing
from datalabs_contracts.labs import LabFact, Limits
from datalabs_contracts.streams import ACCOUNTING_LEDGER
from datalabs_contracts.usage import (
    LimitsQuery,
    PersonLimits,
    Release,
    Reserve,
    SetLimits,
    UsagePage,
    UsageQuery,
)
from datalabs_runtime.messaging import Call, Event, Messaging

GATHERED = 64
"""Facts at once: starts of labs wait a moment for one another, to be written together."""


def register(messaging: Messaging, *, ledger: Ledger, reservations: Reservations, usage: Usage) -> None:
    """Serve accounting's operations and consume labs' events."""

    async def reserve(request: Reserve, _: Call) -> Limits:
        return await reservations.reserve(request)

    async def release(request: Release, _: Call) -> Nothing:
        return await reservations.release(request)

    async def get_limits(request: LimitsQuery, call: Call) -> Limits:
        return await reservations.limits(request, caller=call.identity)

    async def get_person_limits(request: LimitsQuery, call: Call) -> PersonLimits:
        return await reservations.person_limits(request, caller=call.identity)

    async def set_limits(request: SetLimits, call: Call) -> PersonLimits:
        return await reservations.set_limits(request, caller=call.identity)

    async def get_usage(request: UsageQuery, call: Call) -> UsagePage:
        return await usage.page(request, caller=call.identity)

    async def lab_changed(event: Event) -> None:
        if isinstance(event.data, LabFact):
            await ledger.take(event.id, event.data)

    messaging.serve(rpc.RESERVE, reserve)
    messaging.serve(rpc.RELEASE, release)
    messaging.serve(rpc.GET_LIMITS, get_limits)
    messaging.serve(rpc.GET_PERSON_LIMITS, get_person_limits)
    messaging.serve(rpc.SET_LIMITS, set_limits)
    messaging.serve(rpc.GET_USAGE, get_usage)
    messaging.consume(ACCOUNTING_LEDGER, lab_changed, workers=GATHERED)
