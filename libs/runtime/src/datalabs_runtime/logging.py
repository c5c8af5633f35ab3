"""Structured logs: one JSON object a line, with trace and lab ids, never with a secret."""

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any

import structlog
from pydantic import SecretBytes, SecretStr

from datalabs_runtime import telemetry
from datalabs_runtime.settings import TelemetrySettings

MASK = "********"
SECRET_NAME = re.compile(
    r"passw|secret|token|authori[sz]ation|cookie|assertion|credential|private|api_?key", re.IGNORECASE
)
"""A value under such a name is never written."""
SECRET_VALUE = re.compile(r"eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)")
"""Tokens (three parts of a JWT) and passwords in URLs, wherever they stand in a text."""
QUIET = ("faststream", "nats", "opentelemetry", "uvicorn.access", "aiohttp.access", "asyncio", "alembic")
"""Libraries whose information is noise to an operator; their warnings are kept."""

Values = MutableMapping[str, Any]


def setup(service: str, settings: TelemetrySettings) -> None:
    """Configure structlog and the standard library's logging for this process."""
    level = logging.getLevelNamesMapping().get(settings.log_level.upper(), logging.INFO)
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _with_service(service),
        _with_trace,
    ]
    finish: list[structlog.typing.Processor] = [_without_secrets]
    if settings.log_format == "console":
        finish.append(
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        )
    else:
        finish[:0] = [structlog.processors.format_exc_info]
        finish.append(structlog.processors.JSONRenderer())
    structlog.configure(
        processors=[*shared, *finish],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *finish],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in QUIET:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))


def bind(**context: object) -> None:
    """Bind values (lab, username, subject) to all log lines of the current task."""
    structlog.contextvars.bind_contextvars(**context)


def _with_service(service: str) -> structlog.typing.Processor:
    def add(_logger: object, _method: str, values: Values) -> Values:
        values["service"] = service
        return values

    return add


def _with_trace(_logger: object, _method: str, values: Values) -> Values:
    trace_id = telemetry.trace_id()
    if trace_id is not None:
        values.setdefault("trace_id", trace_id)
    correlation = telemetry.correlation.get()
    if correlation is not None:
        values.setdefault("correlation_id", correlation)
    return values


def _without_secrets(_logger: object, _method: str, values: Values) -> Values:
    for name in values:
        values[name] = masked(name, values[name])
    return values


def masked(name: str, value: Any) -> Any:
    """Return the value as it may be written under that name."""
    if isinstance(value, SecretStr | SecretBytes):
        return MASK
    if isinstance(value, Mapping):
        return {str(key): masked(str(key), inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [masked(name, inner) for inner in value]
    if isinstance(value, str | bytes) and SECRET_NAME.search(name):
        return MASK if value else value
    if isinstance(value, str):
        return SECRET_VALUE.sub(MASK, value)
    return value
