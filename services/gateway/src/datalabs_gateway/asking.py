"""Questions to services in a caller's name."""

from typing import TypeVar

from datalabs_contracts.base import Contract
from datalabs_contracts.rpc import Operation
from datalabs_gateway.callers import Caller
from datalabs_runtime.rpc import RpcClient

RequestT = TypeVar("RequestT", bound=Contract)
ReplyT = TypeVar("ReplyT", bound=Contract)

PATIENCE = 10.0
"""Seconds that a person's request waits for a service, a restart of that service included."""


class Asking:
    """Calls operations with the caller's assertion, or as the gateway itself."""

    def __init__(self, rpc: RpcClient) -> None:
        self._rpc = rpc

    async def __call__(
        self,
        operation: Operation[RequestT, ReplyT],
        request: RequestT,
        caller: Caller | None = None,
        *,
        timeout: float = PATIENCE,  # noqa: ASYNC109 - the deadline travels to the service in a header
    ) -> ReplyT:
        """Return the reply.

        Raises ProblemError with the service's refusal, `service_unavailable` or `deadline_exceeded`.
        """
        identity = caller.assert_identity() if caller is not None else None
        return await self._rpc.call(operation, request, timeout=timeout, identity=identity)
