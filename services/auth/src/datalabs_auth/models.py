"""What auth's store gives and takes."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from datalabs_contracts.people import Person


@dataclass(frozen=True, kw_only=True)
class Account:
    """A person with the argon2id hash of the password."""

    person: Person
    password_hash: str


@dataclass(frozen=True, kw_only=True)
class SessionRecord:
    """A stored session: its secret only as SHA-256 in hexadecimal."""

    id: str
    secret_sha256: str
    person: Person
    created_at: datetime
    expires_at: datetime
    last_seen_at: datetime
    ended_at: datetime | None
    revision: int

    def ends_at(self, idle: timedelta) -> datetime:
        """When it ends if it is not used again."""
        return min(self.expires_at, self.last_seen_at + idle)


@dataclass(frozen=True, kw_only=True)
class Brake:
    """How sign-in is slowed for one key: an account seen from an address, or an address."""

    failures: int
    blocked_until: datetime | None
    trusted_at: datetime | None
