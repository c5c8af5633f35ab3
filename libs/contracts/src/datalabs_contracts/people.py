"""People, their roles, sessions and the assertion that speaks for them between services."""

from enum import StrEnum

from pydantic import Field, SecretStr

from datalabs_contracts.base import Body, Contract, Instant, WireSecret
from datalabs_contracts.ids import Username


class Role(StrEnum):
    """What a person may do; see DESIGN section 1."""

    USER = "user"
    PUBLISHER = "publisher"
    OPERATOR = "operator"


class Person(Contract):
    """Somebody with an account."""

    id: str
    username: Username
    display_name: str = ""
    roles: list[Role]
    uid: int = Field(description="The numeric POSIX owner of this person's files.")
    active: bool = True
    revision: int
    created_at: Instant


class SignIn(Body):
    """`POST /session`."""

    username: str = Field(min_length=1, max_length=64)
    password: SecretStr = Field(min_length=1, max_length=256)


class SignInAttempt(Contract):
    """A sign-in as the gateway passes it on; the address is for the rate limit."""

    username: str
    password: WireSecret
    address: str


class Session(Contract):
    """A person's signed-in session as services see it; its secret is known to the browser only."""

    id: str
    person: Person
    created_at: Instant
    expires_at: Instant


class SignedIn(Contract):
    """The answer to a good sign-in; `secret` goes into the cookie and is stored nowhere."""

    session: Session
    secret: str


class ResolveSession(Contract):
    """Ask whose session it is, with the SHA-256 of the cookie's secret in hexadecimal."""

    secret_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class EndSession(Contract):
    """End one session."""

    session_id: str


class SessionFact(Contract):
    """Data of `events.session.<id>.<fact>`."""

    session_id: str
    person_id: str
    username: Username
    revision: int
    actor: str
    expires_at: Instant


class NewPerson(Body):
    """`POST /people`; without a password one is made and returned once."""

    username: Username
    password: SecretStr | None = Field(default=None, max_length=256)
    display_name: str = Field(default="", max_length=120)
    roles: list[Role] = Field(default_factory=lambda: [Role.USER])


class CreatePerson(Contract):
    """An operator makes an account."""

    username: Username
    password: WireSecret | None = None
    display_name: str = ""
    roles: list[Role]


class CreatedPerson(Contract):
    """The new account; `password` is set only when the platform made it, and shown only now."""

    person: Person
    password: str | None = None


class PeopleQuery(Contract):
    """A page of accounts, by user name."""

    limit: int = Field(default=50, ge=1, le=200)
    cursor: str | None = None


class PersonQuery(Contract):
    """One account by user name."""

    username: Username


class PersonFact(Contract):
    """Data of `events.person.<id>.<fact>`."""

    person: Person
    revision: int
    owner: str
    actor: str


class AssertionClaims(Contract):
    """What an ES256 identity assertion says (DESIGN section 3); lives at most 60 s."""

    iss: str = Field(description="The service that signed it.")
    sub: str = Field(description="User name, or `service:<name>`.")
    person_id: str | None = None
    uid: int | None = None
    roles: list[Role] = Field(default_factory=list)
    teams: list[str] = Field(default_factory=list)
    scopes: list[str] = Field(default_factory=list)
    session: str | None = None
    act_for: str | None = Field(default=None, description="A service's step for this owner.")
    iat: int
    exp: int
