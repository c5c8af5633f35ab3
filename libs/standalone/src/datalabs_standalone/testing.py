"""For tests of what supervises: parts that are one-line programs, and a reporter that remembers."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from datalabs_standalone import logs
from datalabs_standalone.backoff import RestartPolicy
from datalabs_standalone.failures import StandaloneError
from datalabs_standalone.parts import PartPlan, PartState, PartStatus
from datalabs_standalone.probes import Answer
from datalabs_standalone.processes import run_program

QUICK = RestartPolicy(delays=(0.01,), steady_seconds=30.0, failing_after=3)
SLEEPER = "import time; time.sleep(600)"
_POLL_SECONDS = 0.01


async def until(condition: Callable[[], object], *, seconds: float = 10.0) -> None:
    """Wait for what processes do in their own time."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - other processes set no events
            await asyncio.sleep(_POLL_SECONDS)


def exists(pid: int) -> bool:
    """Tell whether a process is there, even as a zombie."""
    return Path(f"/proc/{pid}").exists()


@dataclass
class Heard:
    """A reporter and listener that remembers."""

    changes: list[tuple[str, PartState, str]] = field(default_factory=list)
    failing_parts: dict[str, list[str]] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    ready_at: str | None = None
    error: StandaloneError | None = None

    def changed(self, part: PartStatus) -> None:
        """Remember a state."""
        self.changes.append((part.name, part.state, part.text))

    def failing(self, part: PartStatus, last_lines: list[str]) -> None:
        """Remember the last lines."""
        self.failing_parts[part.name] = last_lines

    def line(self, text: str) -> None:
        """Remember a line."""
        self.lines.append(text)

    def ready(self, address: str, seconds: float) -> None:
        """Remember the address."""
        assert seconds >= 0
        self.ready_at = address

    def failed(self, error: StandaloneError) -> None:
        """Remember the failure."""
        self.error = error

    def close(self) -> None:
        """Hold nothing."""

    def states(self, name: str) -> list[PartState]:
        """Return the states that a part went through."""
        return [state for part, state, _ in self.changes if part == name]


async def always_ready() -> Answer:
    """Answer as a part that is ready."""
    return Answer(ready=True)


def python_part(
    name: str,
    code: str,
    folder: Path,
    *,
    probe: Callable[[], Awaitable[Answer]] = always_ready,
    stop_signal: int = signal.SIGTERM,
    stop_within: float = 5.0,
    hung_after: float | None = None,
) -> PartPlan:
    """Return a part that is a real process running one piece of Python."""
    log = folder / f"{name}.log"

    async def start() -> int:
        descriptor = logs.open_log(log)
        try:
            return run_program(
                [sys.executable, "-I", "-S", "-c", code],
                environment={},
                log=descriptor,
                death_signal=signal.SIGKILL,
                cwd=folder,
            )
        finally:
            os.close(descriptor)

    return PartPlan(
        name=name,
        start=start,
        probe=probe,
        log=log,
        policy=QUICK,
        stop_signal=stop_signal,
        stop_within=stop_within,
        hung_after=hung_after,
    )
