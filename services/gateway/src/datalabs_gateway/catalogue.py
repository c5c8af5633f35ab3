"""Stub."""


class Catalogue:
    """Stub."""
