"""The command line: parses, calls, prints. A group of commands is one module with ``register``, listed here."""

from typing import Annotated

import typer

from autodelta import __version__
from autodelta.cli import bench, collect, lists, meta, recipes, search, show, suggest
from autodelta.cli.options import Commands

app = typer.Typer(
    name="autodelta",
    cls=Commands,
    help="Finds the best composition of delta-tuning methods for a task, a T5 and a budget.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

for group in (search, show, suggest, recipes, collect, meta, bench, lists):
    group.register(app)


def _version(asked: bool) -> None:
    if asked:
        print(__version__)
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version and stop")
    ] = False,
) -> None:
    """The options that stand before a command."""
