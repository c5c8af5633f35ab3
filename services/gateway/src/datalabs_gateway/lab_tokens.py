"""The token that the edge verifies by itself: which upstream this browser may reach on this lab's host."""

from collections import OrderedDict
from datetime import datetime
from pathlib import Path

from joserfc import jwt
from joserfc.jwk import ECKey

from datalabs_contracts.labs import Route
from datalabs_runtime.clock import Clock

ISSUER = "datalabs"
REUSE_SECONDS = 10
"""A page asks for dozens of files at once; they share one signature."""
CACHE = 5000


class LabTokens:
    """Signs `__Host-lab` tokens (ES256) with the gateway's route key."""

    def __init__(self, *, key: ECKey, key_id: str, clock: Clock, seconds: int) -> None:
        self._key = key
        self._key_id = key_id
        self._clock = clock
        self._seconds = seconds
        self._made: OrderedDict[tuple[str, ...], tuple[float, str]] = OrderedDict()

    @classmethod
    def read(cls, file: Path, *, clock: Clock, seconds: int) -> "LabTokens":
        """Return the signer whose private key lies in a PEM file."""
        return cls(key=ECKey.import_key(file.read_text()), key_id="route", clock=clock, seconds=seconds)

    def make(self, *, host: str, username: str, route: Route, until: datetime) -> str:
        """Return a token for one lab's host that ends with the session at the latest."""
        now = self._clock.now().timestamp()
        address = f"{route.host}:{route.port}"
        cached_as = (host, username, address, str(route.attempt), until.isoformat())
        made = self._made.get(cached_as)
        if made is not None and now - made[0] < REUSE_SECONDS and until.timestamp() > now + self._seconds:
            return made[1]
        claims: dict[str, object] = {
            "iss": ISSUER,
            "aud": host,
            "sub": username,
            "upstream": address,
            "lab": route.lab_id,
            "attempt": route.attempt,
            "trace": route.trace_id or "",
            "iat": int(now),
            "exp": int(min(now + self._seconds, until.timestamp())),
        }
        token = jwt.encode({"alg": "ES256", "kid": self._key_id}, claims, self._key)
        self._made[cached_as] = (now, token)
        self._made.move_to_end(cached_as)
        if len(self._made) > CACHE:
            self._made.popitem(last=False)
        return token
