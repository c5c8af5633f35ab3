"""Stub."""


class Labs:
    """Stub."""
