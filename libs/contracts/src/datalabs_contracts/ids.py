"""Identifiers: safe in a DNS label, a NATS subject token, a path and a URL."""

import hashlib
import secrets
from typing import Annotated

from pydantic import StringConstraints

ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"
"""Lower-case letters and digits without look-alikes (no i, l, o, 0, 1)."""

LAB_ID_LENGTH = 10
"""31**10 is about 8e14: a collision among a million labs has a chance of 6e-4 and hits a unique key."""

LabId = Annotated[str, StringConstraints(pattern=rf"^[{ALPHABET}]{{{LAB_ID_LENGTH}}}$")]
Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$")]
"""A datalab's or collection's name in addresses and subjects: one DNS label."""
CollectionId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?$")]
Username = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9._-]{0,30}[a-z0-9]$")]
VersionName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,62}$")]
SizeName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?$")]


def new_lab_id() -> str:
    """Return a fresh random lab id, its first character a letter so that it is also a valid user name."""
    first = secrets.choice(ALPHABET[:23])
    return first + "".join(secrets.choice(ALPHABET) for _ in range(LAB_ID_LENGTH - 1))


def lab_id_of(owner: str, idempotency_key: str) -> str:
    """Return the one lab id that belongs to this owner's idempotency key.

    Two clicks that race therefore reserve and insert under the same id, and nothing is counted twice.
    """
    digest = hashlib.sha256(f"{owner}\0{idempotency_key}".encode()).digest()
    number = int.from_bytes(digest[:16], "big")
    letters = [ALPHABET[number % 23]]
    number //= 23
    for _ in range(LAB_ID_LENGTH - 1):
        number, index = divmod(number, len(ALPHABET))
        letters.append(ALPHABET[index])
    return "".join(letters)


def job_id_of(lab_id: str, attempt: int) -> str:
    """Return the scheduler's job id of one attempt; no job id is a prefix of another."""
    return f"lab-{lab_id}-{attempt:02d}"
