"""NATS for a service: requests served and made, facts consumed and followed."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from datalabs_contracts.base import Contract
from datalabs_contracts.events import EventType
from datalabs_contracts.rpc import Operation
from datalabs_contracts.streams import Consumer

from datalabs_runtime.health import Health
from datalabs_runtime.identity import Identity, Signer, Verifier
from datalabs_runtime.rpc import RpcClient
from datalabs_runtime.settings import NatsSettings

RequestT = TypeVar("RequestT", bound=Contract)
ReplyT = TypeVar("ReplyT", bound=Contract)


@dataclass(frozen=True, kw_only=True)
class Call:
    """Who made a request and until when the reply is waited for (seconds since 1970)."""

    identity: Identity
    deadline: float
    request_id: str
    assertion: str
    """The caller's assertion, to pass on as `rpc.call(..., identity=call.assertion)`."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """A fact as a handler gets it; `data` is parsed by the event's type, or a plain dict for an unknown one."""

    id: str
    type: EventType | None
    subject: str
    entity: str
    entity_id: str
    fact: str
    source: str
    time: datetime
    revision: int
    data: Any
    raw: bytes
    headers: Mapping[str, str]
    sequence: int
    deliveries: int = 1


Handler = Callable[[Event], Awaitable[None]]


class Messaging:
    """The one connection of a service to NATS; a part: declare everything, then start."""

    name = "messaging"

    def __init__(
        self,
        service: str,
        settings: NatsSettings,
        *,
        signer: Signer,
        verifier: Verifier,
        health: Health | None = None,
    ) -> None:
        self.service = service
        self.rpc = RpcClient()

    def serve(
        self,
        operation: Operation[RequestT, ReplyT],
        handler: Callable[[RequestT, Call], Awaitable[ReplyT]],
        *,
        workers: int = 16,
    ) -> None:
        """Answer an operation, at most `workers` requests at once; a `ProblemError` becomes a problem reply."""

    def consume(self, consumer: Consumer, handler: Handler) -> None:
        """Handle a durable consumer's facts: retried with delays, then dead-lettered."""

    def follow(
        self,
        subjects: Sequence[str],
        handler: Handler,
        *,
        from_now: bool = True,
        on_reset: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Read facts in order into memory; `on_reset` is awaited when some may have been missed."""

    def subscribe_core(self, subject: str, handler: Callable[[str, bytes], Awaitable[None]]) -> None:
        """Receive messages that are not stored (subject, payload)."""

    async def publish_core(self, subject: str, payload: bytes) -> None:
        """Send a message that is not stored."""

    async def start(self) -> None:
        """Connect and begin everything that was declared."""

    async def aclose(self) -> None:
        """Stop taking work, let running handlers end, disconnect."""
