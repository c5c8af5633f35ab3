"""What the launcher cannot see: whose labs a browser uses, and who looks at figures. Said on core NATS, never stored."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import structlog

from datalabs_contracts.events import LIVE_INTEREST, LIVE_SEEN
from datalabs_contracts.labs import Interest, Seen
from datalabs_gateway.live import EVERYTHING, Live
from datalabs_runtime.clock import Clock

SAY_AGAIN = timedelta(seconds=30)
"""The edge asks at least once a minute while a lab is used; half of that is said on."""
REMEMBERED = 20_000
RENEW_SECONDS = 5.0
"""An interest holds three times as long."""


class Signs:
    """Tells the launcher of use and interest; a sign that is lost is followed by the next."""

    def __init__(self, *, publish: Callable[[str, bytes], Awaitable[None]], live: Live, clock: Clock) -> None:
        self._publish = publish
        self._live = live
        self._clock = clock
        self._said: OrderedDict[str, datetime] = OrderedDict()
        self._log = structlog.get_logger(__name__)

    async def used(self, lab_id: str) -> None:
        """Say that a browser uses a lab."""
        now = self._clock.now()
        said = self._said.get(lab_id)
        if said is not None and now - said < SAY_AGAIN:
            return
        self._said[lab_id] = now
        self._said.move_to_end(lab_id)
        if len(self._said) > REMEMBERED:
            self._said.popitem(last=False)
        await self._say(LIVE_SEEN.format(lab_id=lab_id), Seen(lab_id=lab_id, at=now))

    async def interest(self) -> None:
        """Say whose labs are looked at; nothing when nobody looks."""
        owners = self._live.audiences()
        if owners:
            everybody = EVERYTHING in owners
            told = Interest(owners=sorted(owners - {EVERYTHING}), everybody=everybody)
            await self._say(LIVE_INTEREST, told)

    async def _say(self, subject: str, message: Interest | Seen) -> None:
        try:
            await self._publish(subject, message.model_dump_json().encode())
        except Exception as error:  # noqa: BLE001 - whatever NATS raises: a request must not fail for a sign
            self._log.info("sign.not_sent", subject=subject, reason=type(error).__name__)
