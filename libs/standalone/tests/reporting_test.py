import io
import json
import os

import pytest

from datalabs_standalone.failures import PortTakenError
from datalabs_standalone.parts import PartState, PartStatus
from datalabs_standalone.reporting import PipeReporter, PlainReporter, TableReporter, never_block, parts_table


def part(state: PartState, text: str = "", **more: object) -> PartStatus:
    return PartStatus(name="auth", state=state, text=text, **more)  # type: ignore[arg-type]


def test_plain_lines_name_a_part_when_it_is_ready_and_in_trouble() -> None:
    out = io.StringIO()
    reporter = PlainReporter(out)
    reporter.changed(part(PartState.STARTING))
    reporter.changed(part(PartState.READY, took=1.234))
    reporter.changed(part(PartState.READY))
    reporter.changed(part(PartState.RESTARTING, "was killed by SIGKILL"))
    reporter.failing(part(PartState.FAILING, "ended with exit code 1"), ["no table", ""])
    reporter.ready("http://localhost:8080", 4.21)
    reporter.failed(PortTakenError("port 1 is in use."))
    assert out.getvalue().splitlines() == [
        "auth is ready (1.2 s)",
        "auth was killed by SIGKILL; starting it again",
        "auth ended with exit code 1, again and again; the other parts go on. Its last lines:",
        "    no table",
        "Open Datalabs is ready at http://localhost:8080 (4.2 s)",
        "datalabs: port_taken: port 1 is in use.",
    ]


def test_a_pipe_that_nobody_reads_stops_nothing() -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as pipe:
        never_block(pipe)
        reporter = PlainReporter(pipe)
        for _ in range(200):
            reporter.line("x" * 1000)
        os.close(reading)
        reporter.line("gone")
        reporter.line("gone")
        with pytest.raises(OSError):  # noqa: PT011 - what was not written at the end goes nowhere
            pipe.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), writing)


def test_a_detached_start_passes_everything_on_until_nobody_waits() -> None:
    reading, writing = os.pipe()
    log = io.StringIO()
    reporter = PipeReporter(os.fdopen(writing, "w"), log)
    reporter.changed(part(PartState.READY, took=0.5))
    reporter.line("hello")
    reporter.ready("http://x", 1.0)
    with os.fdopen(reading) as pipe:
        kinds = [next(iter(json.loads(pipe.readline()))) for _ in range(3)]
    reporter.line("nobody waits")
    reporter.close()
    assert kinds == ["changed", "line", "ready"]
    assert log.getvalue().count("\n") == 4
    assert log.getvalue().startswith("20")


def test_a_status_survives_its_document() -> None:
    status = part(PartState.FAILING, "why", pid=7, restarts=3, took=0.1)
    assert PartStatus.from_document(json.loads(json.dumps(status.document()))) == status


def test_the_table_shows_every_part(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = TableReporter()
    reporter.changed(part(PartState.STARTING))
    reporter.line("above")
    reporter.changed(part(PartState.READY, took=2.0))
    reporter.ready("http://localhost:8080", 2.0)
    reporter.changed(part(PartState.RESTARTING, "was killed by SIGKILL"))
    shown = capsys.readouterr().out
    assert "auth" in shown
    assert "ready at http://localhost:8080 (2.0 s)" in shown
    assert shown.endswith("auth was killed by SIGKILL; starting it again\n")
    assert parts_table([part(PartState.READY, pid=1)], {"auth": 2048}).row_count == 1
