"""Stub."""


class SpanIntake:
    """Stub."""
