"""Stub."""


class Live:
    """Stub."""
