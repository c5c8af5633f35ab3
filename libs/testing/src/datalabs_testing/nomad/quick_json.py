"""JSON as Nomad writes it: compact."""

import json

_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)


def dumps(value: object) -> str:
    """Return JSON without spaces."""
    return _ENCODER.encode(value)
