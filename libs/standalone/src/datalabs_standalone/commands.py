"""`datalabs up`, `down`, `status`, `logs`, `config`, `backup` and `restore`."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from datalabs_standalone import logs as part_logs
from datalabs_standalone.failures import NotRunningError, StandaloneError, UnknownPartError
from datalabs_standalone.options import UpOptions
from datalabs_standalone.state import StateFolder, default_state

State = Annotated[
    Path | None,
    typer.Option(
        "--state", metavar="DIR", help="The state folder; else DATALABS_STATE, else ~/.local/state/datalabs."
    ),
]
_PLAIN_WIDTH = 160
"""Columns of a table that goes to no terminal."""


@contextmanager
def failures_as_lines() -> Iterator[None]:
    """Show an expected failure as its one line and end with its exit status."""
    try:
        yield
    except StandaloneError as error:
        typer.echo(error.line(), err=True)
        raise typer.Exit(error.exit_status) from None


def register(app: typer.Typer) -> None:
    """Add the commands of the one-machine platform to the `datalabs` command."""
    app.command()(up)
    app.command()(down)
    app.command()(status)
    app.command()(logs)
    app.command()(config)
    app.command()(backup)
    app.command()(restore)


def up(
    *,
    state: State = None,
    port: Annotated[int | None, typer.Option(help="The port to listen on; 8080 at first.")] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="auto, local or nomad: what runs the labs; auto at first.")
    ] = None,
    host: Annotated[
        str | None, typer.Option(metavar="ADDR", help="The address to listen on; 127.0.0.1 at first.")
    ] = None,
    public_url: Annotated[
        str | None, typer.Option(help="How people reach the platform, when not by http://localhost:PORT.")
    ] = None,
    labs_domain: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Labs answer at <lab>.NAME; another site than the platform's."),
    ] = None,
    detach: Annotated[
        bool,
        typer.Option("--detach", help="Return once the platform is ready; it goes on in the background."),
    ] = False,
    insecure_process_labs: Annotated[
        bool | None,
        typer.Option(
            "--insecure-process-labs/--no-insecure-process-labs",
            help="Let everybody launch process labs even where labs cannot be kept apart.",
        ),
    ] = None,
) -> None:
    """Run the whole platform on this machine. Flags are remembered in the state folder's datalabs.toml."""
    from datalabs_standalone.start import start  # noqa: PLC0415 - the other commands need not load it

    options = UpOptions(
        port=port,
        host=host,
        public_url=public_url,
        labs_domain=labs_domain,
        scheduler=scheduler,
        insecure_process_labs=insecure_process_labs,
    )
    with failures_as_lines():
        status_code = start(state=_folder(state), options=options, detach=detach)
    raise typer.Exit(status_code)


def down(
    *,
    state: State = None,
    keep_labs: Annotated[
        bool, typer.Option("--keep-labs", help="Leave labs running; the next `up` finds them again.")
    ] = False,
) -> None:
    """Stop the labs, then the platform."""
    from datalabs_standalone.stop import stop  # noqa: PLC0415

    with failures_as_lines():
        stop(_folder(state), keep_labs=keep_labs)


def status(
    *,
    state: State = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Show the parts of the running platform; ends with 3 when it does not run and 1 when a part is not ready."""
    from datalabs_standalone import control  # noqa: PLC0415

    with failures_as_lines():
        document = next(control.ask(_folder(state).control_socket, command="status"), None)
        if document is None:
            raise NotRunningError("Open Datalabs is just stopping.")
    if as_json:
        typer.echo(json.dumps(document, indent=2))
    else:
        _show(document)
    raise typer.Exit(0 if document["ready"] else 1)


def _show(document: dict[str, object]) -> None:
    from rich.console import Console  # noqa: PLC0415

    from datalabs_standalone.parts import PartStatus  # noqa: PLC0415
    from datalabs_standalone.reporting import parts_table  # noqa: PLC0415

    parts = document["parts"]
    assert isinstance(parts, list)
    memory = {part["name"]: part["memory_kib"] or 0 for part in parts}
    total = sum(memory.values()) + int(str(document["memory_kib"] or 0))
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _PLAIN_WIDTH)
    words = "is ready" if document["ready"] else "is not ready"
    console.print(f"Open Datalabs {words} at {document['address']}", markup=False)
    console.print(
        f"state {document['state']}, supervisor {document['pid']}, {total / 1024:.0f} MiB", markup=False
    )
    console.print(parts_table([PartStatus.from_document(part) for part in parts], memory))


def logs(
    service: Annotated[
        str, typer.Argument(help="A part's name: launcher, gateway, nats, postgres, envoy, …")
    ],
    *,
    state: State = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what is written from now.")
    ] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many lines from the end.")] = 100,
    raw: Annotated[
        bool, typer.Option("--raw", help="As they were written: JSON for our own services.")
    ] = False,
) -> None:
    """Print the last lines of a part's log."""
    folder = _folder(state)
    file = folder.log_of(service)
    with failures_as_lines():
        known = sorted(one.stem for one in folder.logs.glob("*.log"))
        if service not in known:
            listed = ", ".join(known) or "none yet"
            raise UnknownPartError(f"no part {service!r} has a log in {folder.logs}; there are: {listed}.")

    def show(line: str) -> None:
        typer.echo(line if raw else part_logs.readable(line, width=4000))

    for line in part_logs.last_lines(file, lines):
        show(line)
    if follow:
        try:
            for line in part_logs.follow(file):
                show(line)
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def config(
    *,
    state: State = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Show each setting, its value and where it comes from."""
    from datalabs_standalone.described import all_settings  # noqa: PLC0415

    folder = _folder(state)
    with failures_as_lines():
        if not folder.settings_file.exists():
            raise NotRunningError(f"{folder.root} has no datalabs.toml yet; `datalabs up` writes it.")
        origins = all_settings(folder.settings_file)
    if as_json:
        document = [
            {"name": one.name, "value": one.value, "origin": one.origin, "description": one.description}
            for one in origins
        ]
        typer.echo(json.dumps(document, indent=2))
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("setting", "value", "from", "what it is"):
        table.add_column(column, overflow="fold")
    for one in origins:
        table.add_row(one.name, one.value, one.origin, one.description)
    Console(highlight=False, width=None if sys.stdout.isatty() else _PLAIN_WIDTH).print(table)


def backup(
    folder: Annotated[Path, typer.Argument(help="A folder that does not exist yet.")],
    *,
    state: State = None,
) -> None:
    """Write the running platform's databases, keys and settings into a folder; people's files are copied apart."""
    from datalabs_standalone import archive, settings_file  # noqa: PLC0415
    from datalabs_standalone.postgres import PostgresServer  # noqa: PLC0415

    platform = _folder(state)
    with failures_as_lines():
        if not platform.settings_file.exists():
            raise NotRunningError(f"{platform.root} has no platform.")
        words = settings_file.read(platform.settings_file)["postgres"]["passwords"]
        server = PostgresServer(folder=platform.root / "postgres", socket_folder=platform.run)
        made = archive.back_up(platform, folder, server=server, passwords=words)
    typer.echo(f"backed up to {made}; copy {platform.root / 'volumes'} with your own tool")


def restore(
    folder: Annotated[Path, typer.Argument(help="A folder that `datalabs backup` made.")],
    *,
    state: State = None,
) -> None:
    """Make a new state folder from a backup; then `datalabs up` on it."""
    from datalabs_standalone import archive  # noqa: PLC0415

    platform = _folder(state)
    with failures_as_lines():
        archive.restore(folder, platform)
    typer.echo(
        f"restored to {platform.root}; bring its volumes/ back, then `datalabs up --state {platform.root}`"
    )


def _folder(named: Path | None) -> StateFolder:
    return StateFolder.at(named or default_state())
