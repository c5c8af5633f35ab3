"""The answering side of requests: identity, deadline, cancellation, a bound on work at once."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from opentelemetry.trace import SpanKind, get_current_span
from prometheus_client import Counter, Gauge, Histogram
from pydantic import ValidationError
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from datalabs_contracts.base import Contract
from datalabs_contracts.problems import FieldProblem, ProblemCode, ProblemError
from datalabs_contracts.rpc import (
    HEADER_ASSERTION,
    HEADER_DEADLINE,
    HEADER_PROBLEM,
    HEADER_REQUEST,
    Operation,
)
from datalabs_runtime import rpc, telemetry
from datalabs_runtime.database import without_database
from datalabs_runtime.identity import Identity, Verifier, authorise

RequestT = TypeVar("RequestT", bound=Contract)
ReplyT = TypeVar("ReplyT", bound=Contract)

DEFAULT_PATIENCE = 5.0
"""Seconds granted to a request that names no deadline."""
STOP_PATIENCE = 5.0
"""Seconds for running requests when the service stops."""
PROBLEM_HEADERS = {HEADER_PROBLEM: "1"}
AWAY = (OperationalError, InterfaceError, PoolTimeoutError, ConnectionError)
"""Errors of a database that is away or full of work; the caller may try again."""

SERVED = Histogram(
    "datalabs_rpc_server_seconds", "Requests answered.", ["operation", "code"], buckets=rpc.SECONDS
)
RUNNING = Gauge("datalabs_rpc_server_running", "Requests being worked on.", ["operation"])
STALE = Counter("datalabs_rpc_server_stale_total", "Requests that came after their deadline.", ["operation"])


@dataclass(frozen=True, kw_only=True)
class Call:
    """Who made a request and until when the reply is waited for (seconds since 1970)."""

    identity: Identity
    deadline: float
    request_id: str
    assertion: str
    """The caller's assertion, to pass on as `rpc.call(..., identity=call.assertion)`."""


@dataclass(kw_only=True)
class _Served:
    operation: Operation[Any, Any]
    handler: Callable[[Any, Call], Awaitable[Any]]
    slots: asyncio.Semaphore
    subscription: Subscription | None = None


@dataclass(kw_only=True)
class _Running:
    replies: list[str]
    task: asyncio.Task[None] | None = None
    cancelled: bool = False


@dataclass(kw_only=True)
class RpcServer:
    """All operations that one service answers."""

    service: str
    verifier: Verifier
    _operations: list[_Served] = field(default_factory=list)
    _running: dict[str, _Running] = field(default_factory=dict)
    _cancels: Subscription | None = None
    _client: Client | None = None

    def __post_init__(self) -> None:
        self._log = structlog.get_logger(__name__)

    def serve(
        self,
        operation: Operation[RequestT, ReplyT],
        handler: Callable[[RequestT, Call], Awaitable[ReplyT]],
        workers: int,
    ) -> None:
        """Remember an operation; `start` subscribes to it."""
        if operation.service != self.service:
            raise ValueError(f"{operation.subject} is not an operation of {self.service}")
        self._operations.append(
            _Served(operation=operation, handler=handler, slots=asyncio.Semaphore(workers))
        )

    async def start(self, client: Client) -> None:
        """Take requests; replicas of a service share them."""
        self._client = client
        if not self._operations:  # who serves nothing may not even subscribe
            return
        self._cancels = await client.subscribe(f"rpc.{self.service}.cancel", cb=self._cancel)
        for served in self._operations:
            served.subscription = await client.subscribe(
                served.operation.subject, queue=self.service, cb=self._receiver(served)
            )

    async def aclose(self) -> None:
        """Take no more requests and let those that run end, for some seconds."""
        for served in self._operations:
            if served.subscription is not None:
                with contextlib.suppress(NatsError):
                    await served.subscription.unsubscribe()
                served.subscription = None
        tasks = [running.task for running in self._running.values() if running.task is not None]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=STOP_PATIENCE)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _receiver(self, served: _Served) -> Callable[[Msg], Awaitable[None]]:
        async def receive(message: Msg) -> None:
            """Begin the work; nats-py awaits this before it hands over the next, so a full service holds back."""
            headers = message.headers or {}
            request_id = headers.get(HEADER_REQUEST) or message.reply
            known = self._running.get(request_id)
            if known is not None:
                known.replies.append(message.reply)
                return
            end = _deadline(headers)
            if end > time.time():
                await served.slots.acquire()
                if end > time.time():
                    running = _Running(replies=[message.reply])
                    self._running[request_id] = running
                    running.task = asyncio.create_task(self._work(served, message, request_id, end))
                    return
                served.slots.release()
            STALE.labels(served.operation.name).inc()

        return receive

    async def _cancel(self, message: Msg) -> None:
        running = self._running.get(message.data.decode(errors="replace"))
        if running is not None and running.task is not None:
            running.cancelled = True
            running.task.cancel()

    async def _work(self, served: _Served, message: Msg, request_id: str, end: float) -> None:
        began = time.perf_counter()
        name = served.operation.name
        headers = message.headers or {}
        code = "ok"
        RUNNING.labels(name).inc()
        rpc.deadline.set(end)
        try:
            with telemetry.continued(headers), structlog.contextvars.bound_contextvars(operation=name):
                try:
                    body = await self._answer(served, message, headers, request_id, end)
                    reply_headers: dict[str, str] | None = None
                except ProblemError as problem:
                    code = problem.code
                    body = problem.document(telemetry.trace_id()).model_dump_json().encode()
                    reply_headers = PROBLEM_HEADERS
                await self._reply(request_id, body, reply_headers)
        finally:
            self._running.pop(request_id, None)
            served.slots.release()
            RUNNING.labels(name).dec()
            SERVED.labels(name, code).observe(time.perf_counter() - began)

    async def _answer(
        self, served: _Served, message: Msg, headers: Mapping[str, str], request_id: str, end: float
    ) -> bytes:
        """Return the reply's text; every error leaves as a `ProblemError`."""
        operation = served.operation
        if not get_current_span().get_span_context().trace_flags.sampled:
            return await self._guarded(served, message, headers, request_id, end)
        with telemetry.span(
            f"{operation.service}.{operation.name}",
            kind=SpanKind.SERVER,
            attributes={
                "messaging.system": "nats",
                "messaging.operation.type": "process",
                "messaging.destination.name": operation.subject,
                "rpc.system": "nats",
                "rpc.service": operation.service,
                "rpc.method": operation.name,
            },
        ):
            return await self._guarded(served, message, headers, request_id, end)

    async def _guarded(
        self, served: _Served, message: Msg, headers: Mapping[str, str], request_id: str, end: float
    ) -> bytes:
        operation = served.operation
        try:
            async with asyncio.timeout(max(0.0, end - time.time())):
                assertion = headers.get(HEADER_ASSERTION, "")
                identity = self.verifier.verify(assertion) if assertion else None
                authorise(operation, identity)
                assert identity is not None
                call = Call(identity=identity, deadline=end, request_id=request_id, assertion=assertion)
                request = _parsed(operation, message.data)
                reply: Contract = await served.handler(request, call)
                body = reply.model_dump_json().encode()
        except ProblemError as problem:
            self._log.info("rpc.refused", operation=operation.name, code=problem.code, detail=problem.detail)
            raise
        except TimeoutError as error:
            raise ProblemError(
                ProblemCode.DEADLINE_EXCEEDED, f"{operation.service} could not finish in time"
            ) from error
        except asyncio.CancelledError:
            running = self._running.get(request_id)
            if running is None or not running.cancelled:
                raise
            raise ProblemError(ProblemCode.CANCELLED) from None
        except AWAY as error:
            refusal = without_database(operation.service, error)
            self._log.warning("rpc.database_away", operation=operation.name, reason=type(error).__name__)
            raise refusal from error
        except Exception as error:
            self._log.exception("rpc.failed", operation=operation.name)
            raise ProblemError(ProblemCode.INTERNAL_ERROR) from error
        if self._client is not None and len(body) > self._client.max_payload:
            self._log.error("rpc.reply_too_large", operation=operation.name, bytes=len(body))
            raise ProblemError(ProblemCode.INTERNAL_ERROR, "the reply is too large; ask for a smaller page")
        return body

    async def _reply(self, request_id: str, body: bytes, headers: dict[str, str] | None) -> None:
        running, client = self._running.get(request_id), self._client
        if running is None or client is None:
            return
        for subject in running.replies:
            if not subject:
                continue
            try:
                await client.publish(subject, body, headers=headers)
            except (NatsError, OSError) as error:
                self._log.warning("rpc.reply_lost", reason=type(error).__name__)


def _deadline(headers: Mapping[str, str]) -> float:
    try:
        return int(headers[HEADER_DEADLINE]) / 1000
    except (KeyError, ValueError):
        return time.time() + DEFAULT_PATIENCE


def _parsed(operation: Operation[RequestT, ReplyT], body: bytes) -> RequestT:
    try:
        return operation.request.model_validate_json(body)
    except ValidationError as error:
        raise ProblemError(
            ProblemCode.INVALID_REQUEST,
            errors=[
                FieldProblem(pointer="/" + "/".join(map(str, item["loc"])), detail=item["msg"])
                for item in error.errors(include_url=False, include_input=False, include_context=False)
            ],
        ) from error
