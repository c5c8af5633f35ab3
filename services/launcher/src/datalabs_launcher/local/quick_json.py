"""JSON without the `json` package, whose imports cost the shim 8 ms of its 30: the C parts of it alone.

Standard library only. Falls back to `json` on an interpreter that has no `_json`.
"""

from __future__ import annotations

try:
    import _json
except ImportError:  # another Python than CPython
    _json = None  # type: ignore[assignment]


TYPE_CHECKING = False  # `typing` and what it imports cost the shim 8 ms
if TYPE_CHECKING:
    from typing import Any


class _Context:
    """What the C scanner asks of a decoder."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float
    memo: dict[str, str] = {}  # noqa: RUF012 - the scanner's own cache


def _refuse(value: object) -> Any:
    raise TypeError(f"not JSON: {type(value)}")


def loads(text: str) -> Any:
    """Read one JSON value."""
    if _json is None:
        import json  # noqa: PLC0415 - only here

        return json.loads(text)
    value, _end = _json.make_scanner(_Context())(text, 0)  # type: ignore[arg-type]
    return value


def dumps(value: object) -> str:
    """Write one JSON value."""
    if _json is None:
        import json  # noqa: PLC0415 - only here

        return json.dumps(value)
    encoder = _json.make_encoder(
        None,
        _refuse,
        _json.encode_basestring_ascii,
        None,
        ": ",
        ", ",
        False,
        False,
        True,
    )
    return "".join(encoder(value, 0))
