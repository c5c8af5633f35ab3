"""The sign-in brakes: wrong passwords slow an address down, for one account and in all, and nobody else.

Two keys are counted. An *account seen from an address* has a few free failures, then delays that double. An *address*
has many free failures over all accounts, against lists of names tried in turn; an account that has signed in from that
address before is spared these, so that people behind one address do not suffer from a neighbour. Counts lie in the
database and survive restarts.
"""

import asyncio
import hashlib
import ipaddress
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from datalabs_auth.errors import TooManyAttemptsError
from datalabs_auth.store import Store

IPV6_NEIGHBOURHOOD = 64
"""One household or machine usually holds a whole /64 (RFC 6177), so it counts as one address."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """After `free` failures each further one doubles the delay, from one second to `longest`."""

    free: int
    longest: timedelta

    def delay(self, failures: int) -> timedelta:
        """How long the next attempt waits after so many failures."""
        if failures < self.free:
            return timedelta()
        doublings = min(failures - self.free, 30)
        return min(self.longest, timedelta(seconds=2**doublings))


@dataclass(frozen=True, kw_only=True)
class Keys:
    """The two keys of an attempt, hashed: neither names nor addresses lie in the table."""

    pair: str
    address: str


def keys_of(username: str, address: str) -> Keys:
    """Return the keys of an attempt."""
    neighbourhood = address
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        pass
    else:
        if parsed.version == 6:  # noqa: PLR2004 - IPv6
            neighbourhood = str(ipaddress.ip_network((parsed, IPV6_NEIGHBOURHOOD), strict=False))
    return Keys(pair=_digest("pair", username, neighbourhood), address=_digest("address", neighbourhood))


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode(errors="surrogatepass")).hexdigest()


class Brakes:
    """Checks, counts and forgets."""

    def __init__(self, *, pair: Rule, address: Rule, forget_after: timedelta, trust_for: timedelta) -> None:
        self._pair = pair
        self._address = address
        self._forget_after = forget_after
        self._trust_for = trust_for
        self._turns: dict[str, tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def turn(self, keys: Keys) -> AsyncIterator[None]:
        """Take the attempts of one pair one after the other.

        Else a hundred guesses sent at once would all pass the check before the first failure is counted.
        """
        lock, users = self._turns.get(keys.pair, (asyncio.Lock(), 0))
        self._turns[keys.pair] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._turns[keys.pair]
            if users == 1:
                del self._turns[keys.pair]
            else:
                self._turns[keys.pair] = (lock, users - 1)

    async def check(self, store: Store, keys: Keys, now: datetime) -> None:
        """Raise `TooManyAttemptsError` while this attempt must wait."""
        pair = await store.brake(keys.pair)
        waits = [pair.blocked_until] if pair and pair.blocked_until else []
        trusted = pair is not None and pair.trusted_at is not None and pair.trusted_at > now - self._trust_for
        if not trusted:
            address = await store.brake(keys.address)
            waits += [address.blocked_until] if address and address.blocked_until else []
        wait = max((until - now for until in waits), default=timedelta())
        if wait > timedelta():
            raise TooManyAttemptsError(retry_after=wait.total_seconds())

    async def failed(self, store: Store, keys: Keys, now: datetime) -> float | None:
        """Count a failure; return the seconds that the next attempt of the pair must wait, if any."""
        forgotten_before = now - self._forget_after
        # Always the address last: two attempts that lock in different orders would wait for each other.
        failures = await store.count_failure(keys.pair, now=now, forgotten_before=forgotten_before)
        delay = self._pair.delay(failures)
        await store.block(keys.pair, until=now + delay if delay else None)
        address_failures = await store.count_failure(keys.address, now=now, forgotten_before=forgotten_before)
        address_delay = self._address.delay(address_failures)
        await store.block(keys.address, until=now + address_delay if address_delay else None)
        return delay.total_seconds() or None

    async def passed(self, store: Store, keys: Keys, now: datetime) -> None:
        """Forget the pair's failures and remember that the account belongs to this address."""
        await store.trust(keys.pair, now=now)

    async def forget(self, store: Store, now: datetime) -> int:
        """Delete what no longer slows or spares anybody; return how many rows."""
        return await store.forget_brakes(
            failed_before=now - self._forget_after, trusted_before=now - self._trust_for
        )
