"""Passwords: argon2id hashes made in threads, strength, generation."""

import asyncio
import base64
import secrets

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerifyMismatchError

from datalabs_auth.errors import WeakPasswordError

BESIDE_USERNAME = 4
"""Characters that a password must have beside the user name in it."""
GENERATED_BYTES = 12
"""96 random bits: 16 characters to copy."""


def generate_password() -> str:
    """Return a fresh random password of 16 characters."""
    return secrets.token_urlsafe(GENERATED_BYTES)


def check_strength(password: str, *, username: str, min_length: int) -> None:
    """Refuse what is guessed first: short ones, the user name, one character repeated (NIST SP 800-63B, 3.1.1).

    Raises `WeakPasswordError`.
    """
    if len(password) < min_length:
        raise WeakPasswordError(f"A password has at least {min_length} characters.")
    if username in password.lower() and len(password) < len(username) + BESIDE_USERNAME:
        raise WeakPasswordError("The password is the user name with little else.")
    if len(set(password)) == 1:
        raise WeakPasswordError("The password is one character repeated.")


class Passwords:
    """Hashes and checks passwords, few at a time, so that a flood of sign-ins leaves the other core free."""

    def __init__(self, *, memory_kib: int, passes: int, at_once: int) -> None:
        self._hasher = PasswordHasher(
            time_cost=passes, memory_cost=memory_kib, parallelism=1, hash_len=32, salt_len=16, type=Type.ID
        )
        self._slots = asyncio.Semaphore(at_once)
        # A hash of nothing, never computed: checking against it costs what a real check costs.
        self._nobody = (
            f"$argon2id$v=19$m={memory_kib},t={passes},p=1${_unpadded(secrets.token_bytes(16))}"
            f"${_unpadded(secrets.token_bytes(32))}"
        )

    async def hash(self, password: str) -> str:
        """Return the encoded argon2id hash."""
        async with self._slots:
            return await asyncio.to_thread(self._hasher.hash, password)

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Whether the password is right; the same work when there is no account and so no hash."""
        async with self._slots:
            matches = await asyncio.to_thread(self._matches, password_hash or self._nobody, password)
        return matches and password_hash is not None

    def outdated(self, password_hash: str) -> bool:
        """Whether a hash was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(password_hash)

    def _matches(self, password_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(password_hash, password)
        except (VerifyMismatchError, InvalidHashError):
            return False


def _unpadded(raw: bytes) -> str:
    return base64.b64encode(raw).rstrip(b"=").decode()
