import json
import logging as standard
import sys
from collections.abc import Iterator

import pytest
import structlog
from pydantic import SecretStr

from datalabs_runtime import logging, telemetry
from datalabs_runtime.settings import TelemetrySettings

TOKEN = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJnYXRld2F5In0.c2lnbmF0dXJlLXNpZw"


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    before, root = structlog.get_config(), standard.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.configure(**before)
    structlog.contextvars.clear_contextvars()
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_lines_are_json_with_service_trace_and_lab(capsys: pytest.CaptureFixture[str]) -> None:
    logging.setup("launcher", TelemetrySettings())
    logging.bind(lab="k3v9x2mmpq")
    with telemetry.continued({"traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "correlationid": "c"}):
        structlog.get_logger("x").info("lab.ready", seconds=0.4)
    (line,) = lines(capsys)
    assert line["event"] == "lab.ready"
    assert (line["service"], line["lab"], line["trace_id"], line["correlation_id"]) == (
        "launcher",
        "k3v9x2mmpq",
        "a" * 32,
        "c",
    )
    assert (line["level"], line["seconds"]) == ("info", 0.4)


def test_libraries_speak_the_same_language(capsys: pytest.CaptureFixture[str]) -> None:
    logging.setup("launcher", TelemetrySettings())
    standard.getLogger("somebody").warning("careful: %s", 3)
    standard.getLogger("faststream").info("noise")
    (line,) = lines(capsys)
    assert (line["event"], line["level"]) == ("careful: 3", "warning")


def _fail() -> None:
    raise ValueError(f"no {TOKEN}")


def test_secrets_are_never_written(capsys: pytest.CaptureFixture[str]) -> None:
    logging.setup("auth", TelemetrySettings())
    log = structlog.get_logger("x")
    log.info(
        "signed_in",
        password="hunter2",
        body={"Authorization": "Bearer hunter2", "inner": [{"api_key": "hunter2"}]},
        value=SecretStr("hunter2"),
        url="postgresql://user:hunter2@host/db",
        text=f"the cookie was {TOKEN}",
        session_cookie="hunter2",
        people=3,
    )
    standard.getLogger("x").warning("got %s and nats://u:hunter2@h", TOKEN)
    try:
        _fail()
    except ValueError:
        log.exception("failed")
    said = capsys.readouterr().err
    assert "hunter2" not in said
    assert "c2lnbmF0dXJl" not in said
    assert '"people": 3' in said


def test_levels_and_the_console_form(capsys: pytest.CaptureFixture[str]) -> None:
    logging.setup("auth", TelemetrySettings(log_level="warning", log_format="console"))
    log = structlog.get_logger("x")
    log.info("quiet")
    try:
        secret = "hunter2"
        _ = 1 / len(secret[:0])
    except ZeroDivisionError:
        log.exception("loud")
    said = capsys.readouterr().err
    assert "quiet" not in said
    assert "loud" in said
    assert "ZeroDivisionError" in said
    assert sys.stderr is not None
