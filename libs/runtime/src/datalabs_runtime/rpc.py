"""Typed requests between services: a deadline that travels, cancellation, problem documents."""

from contextvars import ContextVar
from typing import Any, TypeVar

from datalabs_contracts.base import Contract
from datalabs_contracts.rpc import Operation

RequestT = TypeVar("RequestT", bound=Contract)
ReplyT = TypeVar("ReplyT", bound=Contract)

deadline: ContextVar[float | None] = ContextVar("deadline", default=None)
"""When the current work must have ended, in seconds since 1970."""


class RpcClient:
    """Calls operations of other services; made by `Messaging` as its `rpc`."""

    async def call(
        self,
        operation: Operation[RequestT, ReplyT],
        request: RequestT,
        *,
        timeout: float = 5.0,
        identity: str | None = None,
        act_for: str | None = None,
    ) -> ReplyT:
        """Ask and wait for the reply; the deadline of the current work caps the timeout (seconds).

        Raises `ProblemError`.
        """
        raise NotImplementedError


_unused: Any = None
