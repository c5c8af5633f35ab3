"""What the observer answers and hears over NATS."""

from datalabs_contracts import rpc
from datalabs_contracts.base import Nothing, Page
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
from datalabs_contracts.streams import OBSERVER_DEAD_LETTERS, OBSERVER_HISTORY
from datalabs_observer.access import check_operator
from datalabs_observer.dead_letters import DeadLetters
from datalabs_observer.history import History
from datalabs_observer.parts import Parts
from datalabs_observer.spans import Spans
from datalabs_runtime.messaging import Call, Messaging


def register(
    messaging: Messaging, *, history: History, spans: Spans, dead_letters: DeadLetters, parts: Parts
) -> None:
    """Serve the observer's operations and consume all events and dead letters."""

    async def list_events(request: EventsQuery, call: Call) -> Page[StoredEvent]:
        check_operator(call.identity)
        return await history.page(request)

    async def get_trace(request: TraceQuery, call: Call) -> Page[Span]:
        check_operator(call.identity)
        return await spans.trace(request)

    async def list_traces(request: TracesQuery, call: Call) -> Page[TraceSummary]:
        check_operator(call.identity)
        return await spans.traces(request)

    async def list_dead_letters(request: DeadLettersQuery, call: Call) -> Page[DeadLetter]:
        check_operator(call.identity)
        return await dead_letters.page(request)

    async def replay_dead_letter(request: DeadLetterRef, call: Call) -> DeadLetter:
        check_operator(call.identity)
        return await dead_letters.replay(request)

    async def get_health(_: Nothing, call: Call) -> PlatformHealth:
        check_operator(call.identity)
        return await parts.health()

    messaging.serve(rpc.LIST_EVENTS, list_events)
    messaging.serve(rpc.GET_TRACE, get_trace)
    messaging.serve(rpc.LIST_TRACES, list_traces)
    messaging.serve(rpc.LIST_DEAD_LETTERS, list_dead_letters)
    messaging.serve(rpc.REPLAY_DEAD_LETTER, replay_dead_letter)
    messaging.serve(rpc.GET_HEALTH, get_health)
    messaging.consume_batches(OBSERVER_HISTORY, history.keep)
    messaging.consume(OBSERVER_DEAD_LETTERS, dead_letters.keep)
