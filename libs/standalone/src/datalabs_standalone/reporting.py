"""How the start is shown: a live table on a terminal, plain lines elsewhere, JSON lines between processes."""

import contextlib
import json
import os
import stat
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import IO, Any, Protocol

from datalabs_standalone import logs
from datalabs_standalone.failures import StandaloneError
from datalabs_standalone.parts import PartState, PartStatus

_COLOURS = {
    PartState.READY: "green",
    PartState.FAILING: "bold red",
    PartState.RESTARTING: "yellow",
    PartState.SILENT: "yellow",
    PartState.UNREADY: "yellow",
    PartState.STARTING: "cyan",
}


def never_block(stream: IO[str]) -> None:
    """Let a pipe that nobody empties lose lines rather than stop the supervisor."""
    with contextlib.suppress(OSError):  # a stream without a descriptor cannot block
        if stat.S_ISFIFO(os.fstat(stream.fileno()).st_mode):
            os.set_blocking(stream.fileno(), False)


class Reporter(Protocol):
    """Who shows what happens."""

    def changed(self, part: PartStatus) -> None:
        """Show a part's new state."""

    def failing(self, part: PartStatus, last_lines: list[str]) -> None:
        """Name a part that dies again and again, with its last log lines."""

    def line(self, text: str) -> None:
        """Show one line of progress."""

    def ready(self, address: str, seconds: float) -> None:
        """Show that everything is ready."""

    def failed(self, error: StandaloneError) -> None:
        """Show why the platform cannot start."""

    def close(self) -> None:
        """Show nothing more."""


def ready_line(address: str, seconds: float) -> str:
    """Return the line that scripts wait for."""
    return f"Open Datalabs is ready at {address} ({seconds:.1f} s)"


def failing_lines(part: PartStatus, last_lines: list[str]) -> list[str]:
    """Return what is said of a part that dies again and again."""
    return [
        f"{part.name} {part.text}, again and again; the other parts go on. Its last lines:",
        *(f"    {logs.readable(line)}" for line in last_lines if line.strip()),
    ]


class PlainReporter:
    """One line for what matters; a part is named when it is ready and when it is in trouble."""

    def __init__(self, stream: IO[str] | None = None, *, stamped: bool = False) -> None:
        self._stream: IO[str] | None = stream or sys.stdout
        self._stamped = stamped
        self._states: dict[str, PartState] = {}

    def remember(self, part: PartStatus) -> None:
        """Take a state as known without printing it."""
        self._states[part.name] = part.state

    def changed(self, part: PartStatus) -> None:
        """Print a line when the state is news."""
        before, self._states[part.name] = self._states.get(part.name), part.state
        if before is part.state:
            return
        if self._stamped and part.state is PartState.STARTING:
            self.line(f"{part.name} is starting")
        if part.state is PartState.READY:
            self.line(f"{part.name} is ready" + (f" ({part.took:.1f} s)" if part.took is not None else ""))
        elif part.state is PartState.RESTARTING:
            self.line(f"{part.name} {part.text}; starting it again")
        elif part.state in {PartState.SILENT, PartState.UNREADY}:
            self.line(f"{part.name} is {part.state}: {part.text}")

    def failing(self, part: PartStatus, last_lines: list[str]) -> None:
        """Print the part and its last lines."""
        for line in failing_lines(part, last_lines):
            self.line(line)

    def line(self, text: str) -> None:
        """Print it."""
        stamp = f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S.%f}"[:-3] + " " if self._stamped else ""
        if self._stream is None:
            return
        try:
            print(f"{stamp}{text}", file=self._stream, flush=True)
        except BlockingIOError:
            pass  # nobody reads the pipe just now; the platform does not wait for them
        except (OSError, ValueError):  # the reader went away; the platform goes on
            self._stream = None

    def ready(self, address: str, seconds: float) -> None:
        """Print the ready line."""
        self.line(ready_line(address, seconds))

    def failed(self, error: StandaloneError) -> None:
        """Print the line of the failure."""
        self.line(error.line())

    def close(self) -> None:
        """Nothing is held."""


class TableReporter:
    """A table of parts that is redrawn in place until the platform is ready; lines go above it.

    rich's own refresh thread stays off: the supervisor forks.
    """

    def __init__(self) -> None:
        from rich.console import Console  # noqa: PLC0415 - 80 ms that plain output need not pay
        from rich.live import Live  # noqa: PLC0415

        self._console = Console(highlight=False)
        self._parts: dict[str, PartStatus] = {}
        self._live: Live | None = Live(console=self._console, auto_refresh=False)
        self._live.start()
        self._plain = PlainReporter()

    def changed(self, part: PartStatus) -> None:
        """Redraw."""
        self._parts[part.name] = part
        if self._live is None:
            self._plain.changed(part)
            return
        self._live.update(parts_table(list(self._parts.values())), refresh=True)

    def failing(self, part: PartStatus, last_lines: list[str]) -> None:
        """Print above the table."""
        for line in failing_lines(part, last_lines):
            self.line(line)

    def line(self, text: str) -> None:
        """Print above the table."""
        self._console.print(text, markup=False, soft_wrap=True)

    def ready(self, address: str, seconds: float) -> None:
        """Let the table stand and print the ready line under it."""
        self.close()
        self.line(ready_line(address, seconds))

    def failed(self, error: StandaloneError) -> None:
        """Let the table stand and print the failure under it."""
        self.close()
        self.line(error.line())

    def close(self) -> None:
        """Stop redrawing; what follows are plain lines."""
        if self._live is not None:
            self._live.stop()
            self._live = None
            for part in self._parts.values():
                self._plain.remember(part)


def parts_table(parts: Sequence[PartStatus], memory: dict[str, int] | None = None) -> Any:
    """Return the table of parts; with memory (KiB by part) also pids, restarts and since when."""
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("part", "state", "started in"):
        table.add_column(column, no_wrap=True)
    if memory is not None:
        for column in ("pid", "since", "restarts", "memory"):
            table.add_column(column, justify="right", no_wrap=True)
    table.add_column("", overflow="ellipsis", no_wrap=True)
    for part in parts:
        cells = [
            part.name,
            f"[{_COLOURS.get(part.state, 'white')}]{part.state}[/]",
            "" if part.took is None else f"{part.took:.1f} s",
        ]
        if memory is not None:
            kib = memory.get(part.name, 0)
            cells += [
                str(part.pid or ""),
                _moment(part.since),
                str(part.restarts),
                f"{kib / 1024:.0f} MiB" if kib else "",
            ]
        table.add_row(*cells, part.text)
    return table


def _moment(at: datetime) -> str:
    """Return a moment in local time, with its date if that is not today's."""
    local = at.astimezone()
    today = local.date() == datetime.now().astimezone().date()
    return f"{local:%H:%M:%S}" if today else f"{local:%Y-%m-%d %H:%M}"


class PipeReporter:
    """JSON lines to the process that waits for a detached start, and stamped lines to the supervisor's own log."""

    def __init__(self, pipe: IO[str], log: IO[str]) -> None:
        self._pipe: IO[str] | None = pipe
        self._log = PlainReporter(log, stamped=True)

    def changed(self, part: PartStatus) -> None:
        """Pass it on."""
        self._log.changed(part)
        self._send(changed=part.document())

    def failing(self, part: PartStatus, last_lines: list[str]) -> None:
        """Pass it on."""
        self._log.failing(part, last_lines)
        self._send(failing=part.document(), lines=last_lines)

    def line(self, text: str) -> None:
        """Pass it on."""
        self._log.line(text)
        self._send(line=text)

    def ready(self, address: str, seconds: float) -> None:
        """Pass it on."""
        self._log.ready(address, seconds)
        self._send(ready=address, seconds=seconds)

    def failed(self, error: StandaloneError) -> None:
        """Pass it on."""
        self._log.failed(error)
        self._send(failed=str(error), code=error.code, exit_status=error.exit_status)

    def close(self) -> None:
        """Nobody waits any more."""
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()

    def _send(self, **message: object) -> None:
        if self._pipe is None:
            return
        try:
            self._pipe.write(json.dumps(message) + "\n")
            self._pipe.flush()
        except (OSError, ValueError):
            self.close()
