"""Stub."""


class ContractFiles:
    """Stub."""
