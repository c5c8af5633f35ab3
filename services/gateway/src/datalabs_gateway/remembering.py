"""Idempotency keys of requests whose service knows none: the first answer is kept and given again (DESIGN section 9)."""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

from datalabs_contracts.base import Contract
from datalabs_contracts.problems import ProblemCode, ProblemError
from datalabs_gateway.callers import Caller
from datalabs_gateway.models import ClaimState
from datalabs_gateway.store import Store
from datalabs_runtime.clock import Clock

ReplyT = TypeVar("ReplyT", bound=Contract)

KEPT = timedelta(hours=24)
ABANDONED = timedelta(seconds=60)
"""A request under way for longer was lost with its process; a repeat may take its place."""
IN_MEMORY = 200
"""Whole answers kept here beside the stored ones, which lack what must not be stored."""


class Remembering:
    """Answers by owner, route and key."""

    def __init__(self, *, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._whole: OrderedDict[str, Contract] = OrderedDict()

    async def once(
        self,
        caller: Caller,
        *,
        route: str,
        key: str | None,
        said: str,
        work: Callable[[], Awaitable[ReplyT]],
        reply: type[ReplyT],
        unstored: set[str] | None = None,
    ) -> ReplyT:
        """Do the work unless this key was used before; `said` is what a repeat must say again.

        Raises ProblemError `idempotency_mismatch` for another body, `conflict` while the first is under way.
        """
        if key is None:
            return await work()
        digest = _digest(caller.username, route, key)
        claim = await self._store.claim(
            digest, _digest(said), now=self._clock.now(), kept=KEPT, abandoned=ABANDONED
        )
        if claim.state is ClaimState.MISMATCH:
            raise ProblemError(ProblemCode.IDEMPOTENCY_MISMATCH)
        if claim.state is ClaimState.UNDER_WAY:
            raise ProblemError(
                ProblemCode.CONFLICT, "The first request with this key is still under way.", retry_after=1
            )
        if claim.state is ClaimState.DONE:
            whole = self._whole.get(digest)
            return whole if isinstance(whole, reply) else reply.model_validate_json(claim.reply)
        try:
            answer = await work()
        except (ProblemError, asyncio.CancelledError):
            await self._store.release(digest)
            raise
        await self._store.finish(digest, answer.model_dump_json(exclude=unstored))
        self._whole[digest] = answer
        if len(self._whole) > IN_MEMORY:
            self._whole.popitem(last=False)
        return answer


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
