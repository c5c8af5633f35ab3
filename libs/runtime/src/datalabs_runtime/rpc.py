"""Typed requests between services: a deadline that travels, cancellation, problem documents.

Requests go over nats-py itself: what FastStream adds to a message (0.2 ms of CPU, measured; docs/adr) buys
nothing here.
"""

import asyncio
import secrets
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import TypeVar

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NatsTimeoutError
from opentelemetry import trace
from opentelemetry.trace import SpanKind
from prometheus_client import Counter, Histogram

from datalabs_contracts.base import Contract
from datalabs_contracts.problems import Problem, ProblemCode, ProblemError
from datalabs_contracts.rpc import (
    HEADER_ASSERTION,
    HEADER_DEADLINE,
    HEADER_PROBLEM,
    HEADER_REQUEST,
    Operation,
)
from datalabs_runtime import telemetry
from datalabs_runtime.identity import Signer

RequestT = TypeVar("RequestT", bound=Contract)
ReplyT = TypeVar("ReplyT", bound=Contract)

deadline: ContextVar[float | None] = ContextVar("deadline", default=None)
"""When the current work must have ended, in seconds since 1970."""

FIRST_PAUSE = 0.02
LONGEST_PAUSE = 0.5
"""Seconds between attempts when nobody listens; doubled from the first to the longest."""
ASK_AGAIN = 1.0
"""Seconds after which a repeatable request is sent once more: its reply may be lost. Doubled each time.
The server knows a request that it works on already by its id, and answers both."""
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

CALLS = Histogram(
    "datalabs_rpc_client_seconds", "Requests to other services.", ["operation", "code"], buckets=SECONDS
)
REPEATS = Counter("datalabs_rpc_client_repeats_total", "Requests sent again.", ["operation", "reason"])


def remaining(longest: float) -> float:
    """Return how many seconds the current work may still take, at most `longest`."""
    end = deadline.get()
    return longest if end is None else max(0.0, min(longest, end - time.time()))


class RpcClient:
    """Calls operations of other services; made by `Messaging` as its `rpc`."""

    def __init__(self, signer: Signer, connection: Callable[[], Client]) -> None:
        self._signer = signer
        self._connection = connection

    async def call(
        self,
        operation: Operation[RequestT, ReplyT],
        request: RequestT,
        *,
        timeout: float = 5.0,  # noqa: ASYNC109 - it is a part of the message, not only a local wait
        identity: str | None = None,
        act_for: str | None = None,
    ) -> ReplyT:
        """Ask and wait for the reply; the deadline of the current work caps the timeout (seconds).

        `identity` is a person's assertion to pass on; without it the request is the service's own, perhaps
        `act_for` a person. When the caller is cancelled the work is cancelled, too.

        Raises `ProblemError`: the other service's refusal, `deadline_exceeded` or `service_unavailable`.
        """
        began = time.perf_counter()
        code = "ok"
        name = f"{operation.service}.{operation.name}"
        try:
            if not trace.get_current_span().is_recording():
                return await self._ask(operation, request, timeout, identity, act_for)
            with telemetry.span(name, kind=SpanKind.CLIENT, attributes=_attributes(operation)) as span:
                try:
                    return await self._ask(operation, request, timeout, identity, act_for)
                except ProblemError as problem:
                    span.set_attribute("datalabs.problem", problem.code)
                    raise
        except ProblemError as problem:
            code = problem.code
            raise
        except asyncio.CancelledError:
            code = ProblemCode.CANCELLED
            raise
        finally:
            CALLS.labels(name, code).observe(time.perf_counter() - began)

    async def _ask(
        self,
        operation: Operation[RequestT, ReplyT],
        request: RequestT,
        longest: float,
        identity: str | None,
        act_for: str | None,
    ) -> ReplyT:
        end = time.time() + remaining(longest)
        headers = {
            HEADER_DEADLINE: str(int(end * 1000)),
            HEADER_REQUEST: secrets.token_hex(8),
            HEADER_ASSERTION: identity or self._signer.for_service(act_for),
        }
        telemetry.inject(headers)
        body = request.model_dump_json().encode()
        try:
            message = await self._exchange(operation, body, headers, end)
        except asyncio.CancelledError:
            await self._cancel(operation, headers[HEADER_REQUEST])
            raise
        return operation.reply.model_validate_json(message.data)

    async def _exchange(
        self, operation: Operation[RequestT, ReplyT], body: bytes, headers: dict[str, str], end: float
    ) -> Msg:
        """Send until there is an answer: at once again when nobody listens, and again later if repeatable."""
        pause, patience = FIRST_PAUSE, ASK_AGAIN
        away: ProblemError | None = None
        while (left := end - time.time()) > 0:
            wait = min(left, patience) if operation.repeatable else left
            try:
                message = await self._connection().request(
                    operation.subject, body, timeout=wait, headers=headers
                )
            except NoRespondersError:
                away = _unavailable(operation)
                reason = "no_responders"
            except NatsTimeoutError:
                if not operation.repeatable:
                    break
                patience *= 2
                REPEATS.labels(operation.subject, "no_reply").inc()
                continue
            except (NatsError, OSError) as error:
                away = _unavailable(operation)
                away.__cause__ = error
                reason = "connection"
            else:
                problem = _problem(message)
                if problem is None:
                    return message
                if problem.code is not ProblemCode.SERVICE_UNAVAILABLE or not operation.repeatable:
                    raise problem
                away, reason = problem, "unavailable"
            REPEATS.labels(operation.subject, reason).inc()
            await asyncio.sleep(min(pause, max(0.0, end - time.time())))
            pause = min(pause * 2, LONGEST_PAUSE)
        raise away or ProblemError(
            ProblemCode.DEADLINE_EXCEEDED, f"{operation.service} did not answer {operation.name} in time"
        )

    async def _cancel(self, operation: Operation[RequestT, ReplyT], request_id: str) -> None:
        try:
            await self._connection().publish(f"rpc.{operation.service}.cancel", request_id.encode())
        except (NatsError, OSError, RuntimeError):
            return  # the deadline ends the work


def _unavailable(operation: Operation[RequestT, ReplyT]) -> ProblemError:
    return ProblemError(ProblemCode.SERVICE_UNAVAILABLE, f"{operation.service} is away", retry_after=1.0)


def _problem(message: Msg) -> ProblemError | None:
    if not message.headers or HEADER_PROBLEM not in message.headers:
        return None
    return ProblemError.from_document(Problem.model_validate_json(message.data))


def _attributes(operation: Operation[RequestT, ReplyT]) -> dict[str, str]:
    return {
        "messaging.system": "nats",
        "messaging.operation.type": "send",
        "messaging.destination.name": operation.subject,
        "rpc.system": "nats",
        "rpc.service": operation.service,
        "rpc.method": operation.name,
    }
