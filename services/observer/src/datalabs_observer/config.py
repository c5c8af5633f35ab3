"""Settings of the observer: the section `[observer]` of `datalabs.toml`, or `DATALABS_OBSERVER_<NAME>`."""

from datetime import timedelta
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from datalabs_runtime.settings import Settings

MIB = 1024**2


class ObserverSettings(Settings):
    """What is kept, for how long, and how much of it. Durations are seconds or ISO 8601, sizes bytes."""

    section: ClassVar[str] = "observer"

    socket: Path | None = Field(
        default=None, description="Unix socket that takes OTLP/HTTP; by default run/observer.sock."
    )
    events_max_age: timedelta = Field(
        default=timedelta(days=90), description="Stored events older than this are deleted."
    )
    events_max_bytes: int = Field(
        default=1024 * MIB, gt=0, description="The oldest events are deleted beyond this size."
    )
    spans_max_age: timedelta = Field(
        default=timedelta(days=14), description="Spans of traces older than this are deleted."
    )
    spans_max_bytes: int = Field(
        default=512 * MIB, gt=0, description="The oldest traces are deleted beyond this size."
    )
    dead_letters_max_age: timedelta = Field(
        default=timedelta(days=90), description="Dead letters older than this are deleted."
    )
    tidy_every: timedelta = Field(
        default=timedelta(minutes=5), description="How often ages and sizes are looked at."
    )
    span_queue: int = Field(
        default=20_000,
        gt=0,
        description="Spans that wait to be stored; what comes beyond is dropped and counted.",
    )
    body_max_bytes: int = Field(
        default=8 * MIB, gt=0, description="The largest OTLP request, unpacked; larger ones are refused."
    )
