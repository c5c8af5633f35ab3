"""Who a request is made for, as the border found out before any route ran."""

from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from datalabs_contracts.people import Person, Role
from datalabs_contracts.problems import ProblemCode, ProblemError

SCOPE_CALLER = "datalabs.caller"
SCOPE_ADDRESS = "datalabs.address"

Scope = MutableMapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """A person in a session; `assert_identity` gives the assertion that services verify (DESIGN section 3)."""

    person: Person
    session_id: str
    session_sha256: str
    expires_at: datetime
    assert_identity: Callable[[], str]

    @property
    def username(self) -> str:
        """The person's user name."""
        return self.person.username

    @property
    def is_operator(self) -> bool:
        """Whether this person runs the platform."""
        return Role.OPERATOR in self.person.roles


def caller_in(scope: Scope) -> Caller:
    """Return the caller of a request.

    Raises ProblemError `not_signed_in` when the border let nobody in particular through.
    """
    caller: Caller | None = scope.get(SCOPE_CALLER)
    if caller is None:
        raise ProblemError(ProblemCode.NOT_SIGNED_IN)
    return caller


def address_of(scope: Scope) -> str:
    """Return the client's address as the edge saw it, for rate limits; empty without an edge."""
    address: str = scope.get(SCOPE_ADDRESS, "")
    return address
