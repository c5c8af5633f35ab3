"""What the public interface says beyond the contracts: answers that only the gateway gives."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import Field

from datalabs_contracts.base import Body, Contract, Instant
from datalabs_contracts.datalabs import Runtime
from datalabs_contracts.ids import LabId, Username
from datalabs_contracts.labs import Lab, Limits
from datalabs_contracts.people import Role


class Me(Contract):
    """Who is signed in, with what they may have at once; `limits` is missing while accounting is away."""

    id: str
    username: Username
    display_name: str = ""
    roles: list[Role]
    uid: int
    teams: list[str] = Field(default_factory=list)
    limits: Limits | None = None
    session_expires_at: Instant


class Opened(Contract):
    """Where to send the browser; the address works once and for a minute."""

    url: str


class LabDoor(Contract):
    """`GET /.datalabs/lab` on a lab's origin: the lab as it is now, and its page on the platform."""

    lab: Lab
    page: str


class ProviderKind(StrEnum):
    """How a provider asks who somebody is."""

    PASSWORD = "password"  # noqa: S105 - a word, not a password
    OIDC = "oidc"


class Provider(Contract):
    """One way to sign in; `url` is where an OIDC sign-in begins."""

    id: str
    title: str
    kind: ProviderKind
    url: str | None = None


class Providers(Contract):
    """What the sign-in page shows."""

    site_name: str
    items: list[Provider]


class Site(Contract):
    """What the dashboard must know of this site; `notices` are the scheduler's, in plain words."""

    name: str
    version: str
    public_url: str
    labs_domain: str
    runtimes: list[Runtime] = Field(default_factory=list)
    notices: list[str] = Field(default_factory=list)
    session_expires_at: Instant


class Health(Contract):
    """Whether the gateway lives or may be sent requests; `checks` tells what is wrong."""

    status: str
    checks: dict[str, str] = Field(default_factory=dict)


class SamplesWish(Body):
    """Whether one event stream is to carry figures: labs are measured only while somebody looks."""

    stream: str = Field(
        pattern="^[0-9a-f]{16}$",
        description="`stream` of the last `hello` or `reset`.",
        examples=["9f86d081884c7d65"],
    )
    wanted: bool


class LiveEvent(Contract):
    """The `data` of one server-sent event whose name is its entity: `lab`, `volume`, `datalab`, ….

    Beside these the stream has `hello` (the id to resume from), `reset` (read everything again) and `sample`.
    """

    id: str = Field(description="The CloudEvents id of the fact.")
    type: str = Field(examples=["org.datalabs.lab.ready.v1"])
    entity: str = Field(examples=["lab"])
    entity_id: str
    fact: str = Field(examples=["ready"])
    time: Instant
    revision: int
    trace_id: str | None = None
    data: dict[str, Any] = Field(description="The fact's data: `LabFact`, `VolumeFact`, ….")


@dataclass(frozen=True, slots=True, kw_only=True)
class LabSession:
    """Somebody's entry to one lab's origin, as its opaque cookie stands for it."""

    secret_sha256: str
    lab_id: LabId
    username: Username
    session_id: str
    session_sha256: str
    expires_at: Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryCode:
    """A one-time code that turns a platform session into a lab session."""

    code_sha256: str
    lab_id: LabId
    username: Username
    session_id: str
    session_sha256: str
    expires_at: Instant


class ClaimState(StrEnum):
    """What a request with an idempotency key meets."""

    NEW = "new"
    UNDER_WAY = "under_way"
    DONE = "done"
    MISMATCH = "mismatch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The answer to a claim; `reply` is the first answer as JSON when it is done."""

    state: ClaimState
    reply: str = ""
