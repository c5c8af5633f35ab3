"""Structured logs: one JSON object a line, with trace and lab ids, never with a secret."""

from datalabs_runtime.settings import TelemetrySettings


def setup(service: str, settings: TelemetrySettings) -> None:
    """Configure structlog and the standard library's logging for this process."""


def bind(**context: object) -> None:
    """Bind values (lab, username, subject) to all log lines of the current task."""
