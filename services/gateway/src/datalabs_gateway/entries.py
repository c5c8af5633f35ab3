"""Stub."""


class Entries:
    """Stub."""
