"""The `datalabs` command: its own commands and those that installed packages add.

A package adds commands by an entry point of the group `datalabs.commands`: a function that takes the Typer
application and registers what it has. A broken one is named and left out.
"""

from importlib.metadata import entry_points, version
from typing import Annotated

import typer

GROUP = "datalabs.commands"


def build() -> typer.Typer:
    """Return the application with everything that is installed."""
    app = typer.Typer(
        name="datalabs",
        help="Open Datalabs: launch a lab next to the data.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback()(_root)
    for point in sorted(entry_points(group=GROUP), key=lambda one: one.name):
        try:
            point.load()(app)
        except ImportError as error:
            typer.echo(f"datalabs: commands of {point.name} are missing: {error}", err=True)
    return app


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - the shape of an option's callback
    if wanted:
        typer.echo(version("datalabs-client"))
        raise typer.Exit


def _root(
    *,
    _version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version),
    ] = False,
) -> None:
    """Open Datalabs: launch a lab next to the data."""


def main() -> None:
    """Run the command line."""
    build()()
