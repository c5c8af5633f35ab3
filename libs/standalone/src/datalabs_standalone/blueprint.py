"""What a start has come to: all that the supervisor must know to start, ask and end the parts."""

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from datalabs_standalone.failures import RelayedError, StandaloneError, StartFailedError


@dataclass(frozen=True, kw_only=True)
class ProgramPlan:
    """A third-party part: its command, its folder, and files that a killed one may have left in the way."""

    name: str
    argv: list[str]
    folder: str
    stale: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Blueprint:
    """The platform of one machine; `new` when it is its first start."""

    new: bool
    address: str
    notices: list[str]
    services: list[str]
    nats_port: int
    nats_password: str
    subscriber_password: str
    postgres_socket: str
    envoy_admin: str
    hung_seconds: float
    programs: dict[str, ProgramPlan]


@dataclass(frozen=True)
class Drawing:
    """A child process that draws the blueprint; `pipe` gives its one message."""

    pid: int
    pipe: int


def draw(work: Callable[[], Blueprint]) -> Drawing:
    """Let a child do the work; the caller has no threads and no running loop."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(reading)
            with os.fdopen(writing, "w", encoding="utf-8") as pipe:
                json.dump(_message(work), pipe)
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    return Drawing(pid, reading)


def _message(work: Callable[[], Blueprint]) -> dict[str, Any]:
    try:
        return {"blueprint": asdict(work())}
    except StandaloneError as error:
        return {"failed": str(error), "code": error.code, "exit_status": error.exit_status}


def read(text: str) -> Blueprint:
    """Return the blueprint that a child has drawn.

    Raises the failure that it met.
    """
    if not text:
        raise StartFailedError("the preparation of the start ended without a word.")
    message = json.loads(text)
    if "failed" in message:
        raise RelayedError(message["failed"], code=message["code"], exit_status=message["exit_status"])
    fields = message["blueprint"]
    programs = {name: ProgramPlan(**program) for name, program in fields.pop("programs").items()}
    return Blueprint(**fields, programs=programs)
