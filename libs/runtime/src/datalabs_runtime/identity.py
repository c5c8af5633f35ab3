"""Who asks: ES256 assertions of at most a minute, made by the gateway for people and by services for themselves."""

import json
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet
from pydantic import ValidationError

from datalabs_contracts.people import AssertionClaims, Person, Role
from datalabs_contracts.problems import ProblemCode, ProblemError
from datalabs_contracts.rpc import SERVICES, Operation

LIFETIME = 60
"""Seconds an assertion lives (DESIGN section 3)."""
REUSE = 30
"""Seconds for which a signed assertion is handed out again, so that a hop costs no signature."""
SKEW = 5
"""Seconds by which the clocks of two machines may differ."""
CACHE_SIZE = 4096
PERSONS_SIGNER = "gateway"
"""Only this service may speak for people."""
SERVICE_PREFIX = "service:"
PUBLIC_KEYS = "public.jwks.json"


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Who asks: a person, or a service (then `service` is set, perhaps acting for a person)."""

    username: str
    person_id: str | None = None
    uid: int | None = None
    roles: tuple[Role, ...] = ()
    teams: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    session: str | None = None
    service: str | None = None
    act_for: str | None = None

    @property
    def is_operator(self) -> bool:
        """Whether this is a person with the operator's role."""
        return Role.OPERATOR in self.roles

    @property
    def is_publisher(self) -> bool:
        """Whether this is a person who may offer datalabs."""
        return Role.PUBLISHER in self.roles or self.is_operator

    @property
    def owner(self) -> str:
        """The person for whom something is done: oneself, or whom the service acts for."""
        return self.act_for or self.username

    def may_see(self, owner: str) -> bool:
        """Whether what belongs to `owner` may be seen and changed: by the owner, operators and services."""
        return self.service is not None or self.username == owner or self.is_operator


class Signer:
    """Signs assertions with one service's private key."""

    def __init__(self, service: str, key: ECKey, *, now: Callable[[], float] = time.time) -> None:
        self._service = service
        self._key = key
        self._now = now
        self._signed: OrderedDict[tuple[object, ...], tuple[float, str]] = OrderedDict()

    @classmethod
    def read(cls, service: str, folder: Path) -> "Signer":
        """Return the signer whose key lies in the identity folder."""
        return cls(service, ECKey.import_key((folder / f"{service}.key").read_text()))

    def for_person(self, person: Person, session_id: str | None = None) -> str:
        """Return an assertion that a signed-in person asks; only the gateway's are believed."""
        return self._token(
            (person.username, person.revision, session_id),
            {
                "sub": person.username,
                "person_id": person.id,
                "uid": person.uid,
                "roles": [str(role) for role in person.roles],
                "session": session_id,
            },
        )

    def for_service(self, act_for: str | None = None) -> str:
        """Return an assertion that this service asks, perhaps acting for a person."""
        claims: dict[str, Any] = {"sub": SERVICE_PREFIX + self._service}
        if act_for is not None:
            claims["act_for"] = act_for
        return self._token((act_for,), claims)

    def _token(self, key: tuple[object, ...], claims: dict[str, Any]) -> str:
        now = self._now()
        known = self._signed.get(key)
        if known is not None and now - known[0] < REUSE:
            return known[1]
        issued = int(now)
        token = jwt.encode(
            {"alg": "ES256", "kid": self._service},
            {"iss": self._service, "iat": issued, "exp": issued + LIFETIME, **claims},
            self._key,
        )
        self._signed[key] = (now, token)
        self._signed.move_to_end(key)
        if len(self._signed) > CACHE_SIZE:
            self._signed.popitem(last=False)
        return token


class Verifier:
    """Checks assertions against the services' public keys; a good one is remembered until it expires."""

    def __init__(self, keys: KeySet, *, now: Callable[[], float] = time.time) -> None:
        self._keys = keys
        self._now = now
        self._known: OrderedDict[str, tuple[float, Identity]] = OrderedDict()

    @classmethod
    def read(cls, folder: Path) -> "Verifier":
        """Return the verifier with the public keys of the identity folder."""
        return cls(KeySet.import_key_set(json.loads((folder / PUBLIC_KEYS).read_text())))

    def verify(self, token: str) -> Identity:
        """Return who asks.

        Raises `ProblemError` (forbidden) for a token that is forged, expired or signed by the wrong service.
        """
        known = self._known.get(token)
        if known is not None:
            if known[0] > self._now():
                return known[1]
            del self._known[token]
        claims = self._claims(token)
        identity = self._identity(claims)
        self._known[token] = (float(claims.exp), identity)
        if len(self._known) > CACHE_SIZE:
            self._known.popitem(last=False)
        return identity

    def _claims(self, token: str) -> AssertionClaims:
        try:
            decoded = jwt.decode(token, self._keys, algorithms=["ES256"])
            claims = AssertionClaims.model_validate(decoded.claims)
        except (JoseError, ValidationError, ValueError) as error:
            raise ProblemError(ProblemCode.FORBIDDEN, "the identity assertion is not valid") from error
        if decoded.header.get("kid") != claims.iss:
            raise ProblemError(ProblemCode.FORBIDDEN, "the assertion was signed by another service")
        now = self._now()
        lives = claims.exp - claims.iat
        if not (claims.iat - SKEW <= now < claims.exp) or not 0 < lives <= LIFETIME:
            raise ProblemError(ProblemCode.FORBIDDEN, "the identity assertion has expired")
        return claims

    @staticmethod
    def _identity(claims: AssertionClaims) -> Identity:
        if claims.sub.startswith(SERVICE_PREFIX):
            service = claims.sub.removeprefix(SERVICE_PREFIX)
            if service != claims.iss:
                raise ProblemError(ProblemCode.FORBIDDEN, f"{claims.iss} cannot speak for {service}")
            return Identity(username=claims.sub, service=service, act_for=claims.act_for)
        if claims.iss != PERSONS_SIGNER:
            raise ProblemError(ProblemCode.FORBIDDEN, f"{claims.iss} cannot speak for people")
        return Identity(
            username=claims.sub,
            person_id=claims.person_id,
            uid=claims.uid,
            roles=tuple(claims.roles),
            teams=tuple(claims.teams),
            scopes=tuple(claims.scopes),
            session=claims.session,
        )


def authorise(operation: Operation[Any, Any], identity: Identity | None) -> None:
    """Let a service call only what the operation table allows it; people come through the gateway.

    A person's assertion may be passed on by a service that works on the person's request: NATS permissions,
    made from the same table, bound who can send it where.

    Raises `ProblemError` (forbidden).
    """
    if identity is None:
        raise ProblemError(ProblemCode.FORBIDDEN, "the request does not say who asks")
    if identity.service is not None and identity.service not in operation.callers:
        raise ProblemError(
            ProblemCode.FORBIDDEN, f"{identity.service} may not call {operation.service}.{operation.name}"
        )


def make_keys(folder: Path, services: Iterable[str] = SERVICES) -> None:
    """Make what is missing of the identity folder: a private key for each service and all public keys.

    The folder is 0700 and the files 0600; keys that exist stay.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    public: list[dict[str, Any]] = []
    for service in services:
        file = folder / f"{service}.key"
        if not file.exists():
            write_secret(file, ECKey.generate_key("P-256").as_pem(private=True))
        key = ECKey.import_key(file.read_text())
        public.append({**key.as_dict(private=False), "kid": service, "use": "sig", "alg": "ES256"})
    write_secret(folder / PUBLIC_KEYS, json.dumps({"keys": public}, indent=1).encode())


def write_secret(file: Path, content: bytes) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    draft.rename(file)
