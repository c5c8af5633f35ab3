import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest
import typer
from typer.testing import CliRunner

from datalabs_client import cli


def greet(app: typer.Typer) -> None:
    @app.command()
    def hello() -> None:
        typer.echo("hello")

    @app.command()
    def other() -> None:
        typer.echo("other")


def point(name: str, value: str) -> EntryPoint:
    return EntryPoint(name=name, value=value, group=cli.GROUP)


def test_installed_packages_add_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    class Greeting:
        name = "greet"

        def load(self) -> object:
            return greet

    monkeypatch.setattr(cli, "entry_points", lambda group: [Greeting()] if group == cli.GROUP else [])
    result = CliRunner().invoke(cli.build(), ["hello"])
    assert result.output == "hello\n"


def test_a_broken_package_is_named_and_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "entry_points", lambda group: [point("bad", f"no_such_module_of_{group[:4]}:x")])
    cli.build()
    assert "commands of bad are missing" in capsys.readouterr().err


def test_the_command_tells_its_version_and_its_commands() -> None:
    def run(*arguments: str) -> str:
        command = [sys.executable, "-c", "from datalabs_client.cli import main; main()", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert run("--version").strip() == "0.1.0"
    shown = run("--help")
    assert all(word in shown for word in ("up", "down", "status", "logs", "config"))


def test_the_command_line_does_not_load_the_client() -> None:
    code = "import sys; from datalabs_client import cli; cli.build(); sys.exit('httpx2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
