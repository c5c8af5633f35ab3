"""Opaque cursors of paged lists: the sort key of the last item of a page, in unpadded base64url."""

import base64
import binascii
import json
from typing import Any

from datalabs_contracts.problems import ProblemCode, ProblemError

BIGGEST = 2**63 - 1
"""The largest number that a PostgreSQL bigint holds."""


def encode_cursor(kind: str, *key: Any) -> str:
    """Return the cursor after an item with this sort key; `kind` names the list and its order."""
    text = json.dumps([kind, *key], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def decode_cursor(kind: str, cursor: str, *types: type) -> list[Any]:
    """Return the sort key of a cursor.

    Raises `ProblemError` (`invalid_cursor`) for a text that is not a cursor of this list.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        parts = json.loads(base64.b64decode(padded.encode("ascii"), altchars=b"-_", validate=True))
    except (binascii.Error, UnicodeError, ValueError, RecursionError) as error:
        raise ProblemError(ProblemCode.INVALID_CURSOR) from error
    if not isinstance(parts, list) or len(parts) != len(types) + 1 or parts[0] != kind:
        raise ProblemError(ProblemCode.INVALID_CURSOR)
    key = parts[1:]
    if any(type(part) is not wanted or not _storable(part) for part, wanted in zip(key, types, strict=True)):
        raise ProblemError(ProblemCode.INVALID_CURSOR)
    return key


def _storable(part: Any) -> bool:
    """Whether a database takes this part: a forged cursor must not become a database error."""
    if isinstance(part, int):
        return abs(part) <= BIGGEST
    return not isinstance(part, str) or "\0" not in part
