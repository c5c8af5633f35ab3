"""Stub."""


class People:
    """Stub."""
