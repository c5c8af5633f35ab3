"""Settings of auth: the section `[auth]` of `datalabs.toml`, or `DATALABS_AUTH_<NAME>`."""

from datetime import timedelta
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from datalabs_runtime.settings import Settings


class AuthSettings(Settings):
    """How people sign in and how long they stay so. Durations are seconds or ISO 8601."""

    section: ClassVar[str] = "auth"

    seed_file: Path | None = Field(
        default=None,
        description="JSON with `accounts` to make when missing; by default secrets/accounts.json of the state folder.",
    )
    uid_first: int = Field(default=200_000, ge=1000, description="The first POSIX uid given to a person.")
    uid_last: int = Field(default=299_999, ge=1000, description="The last POSIX uid given to a person.")
    session_lifetime: timedelta = Field(
        default=timedelta(days=7), description="A session ends this long after sign-in, whatever happens."
    )
    session_idle: timedelta = Field(
        default=timedelta(hours=24), description="A session ends when unused for this long."
    )
    session_seen_every: timedelta = Field(
        default=timedelta(minutes=1), description="The use of a session is written down at most this often."
    )
    session_retention: timedelta = Field(
        default=timedelta(days=30), description="Ended sessions are forgotten after this long."
    )
    password_min_length: int = Field(default=8, ge=6, le=64, description="Characters of a password at least.")
    hash_memory_kib: int = Field(
        default=19_456, ge=8, description="Memory of one argon2id hash in KiB (OWASP's minimum is 19,456)."
    )
    hash_passes: int = Field(default=2, ge=1, description="Passes of one argon2id hash.")
    hashes_at_once: int = Field(default=2, ge=1, description="Passwords checked at the same time.")
    account_free_failures: int = Field(
        default=5, ge=1, description="Wrong passwords for an account from one address before delays begin."
    )
    account_longest_delay: timedelta = Field(
        default=timedelta(minutes=2), description="The longest delay for an account from one address."
    )
    address_free_failures: int = Field(
        default=100, ge=1, description="Wrong passwords from one address, all accounts, before delays begin."
    )
    address_longest_delay: timedelta = Field(
        default=timedelta(seconds=30), description="The longest delay for an address."
    )
    failures_forgotten_after: timedelta = Field(
        default=timedelta(minutes=30), description="Failures are forgotten this long after the last one."
    )
    trust_after_sign_in: timedelta = Field(
        default=timedelta(days=30),
        description="An account that signed in from an address is spared that address's delays for this long.",
    )
