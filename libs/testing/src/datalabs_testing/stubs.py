"""Other services, as far as a test needs them."""

import inspect
from typing import Any, TypeVar

from datalabs_contracts.base import Contract
from datalabs_contracts.rpc import Operation
from datalabs_runtime.messaging import Call, Messaging
from datalabs_testing.platform import Platform

RequestT = TypeVar("RequestT", bound=Contract)
ReplyT = TypeVar("ReplyT", bound=Contract)


class RpcStub:
    """Answers operations over the real NATS, with the permissions of the service that owns them."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._answers: dict[str, Any] = {}
        self._parts: list[Messaging] = []
        self.requests: list[tuple[Operation[Any, Any], Contract, Call]] = []

    async def answer(self, operation: Operation[RequestT, ReplyT], answer: Any) -> None:
        """Answer an operation from now on; asked again it replaces the answer.

        `answer` is a reply, an exception to raise, or a function (plain or async) of the request, or of the
        request and the `Call`.
        """
        new = operation.subject not in self._answers
        self._answers[operation.subject] = answer
        if not new:
            return

        async def handle(request: RequestT, call: Call) -> ReplyT:
            self.requests.append((operation, request, call))
            given = self._answers[operation.subject]
            if isinstance(given, Exception):
                raise given
            if callable(given):
                takes_call = len(inspect.signature(given).parameters) > 1
                given = given(request, call) if takes_call else given(request)
                if inspect.isawaitable(given):
                    given = await given
            reply: ReplyT = given
            return reply

        messaging = self._platform.messaging(operation.service)
        messaging.serve(operation, handle)
        await messaging.start()
        self._parts.append(messaging)

    def of(self, operation: Operation[RequestT, ReplyT]) -> list[RequestT]:
        """Return the requests that came for an operation."""
        return [request for asked, request, _ in self.requests if asked.subject == operation.subject]  # type: ignore[misc]

    async def aclose(self) -> None:
        """Stop answering."""
        for part in self._parts:
            await part.aclose()
