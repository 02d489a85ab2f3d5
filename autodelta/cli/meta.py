"""``meta``: the meta-learner, fitted to recorded tables and to own runs."""

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from autodelta.cli.options import Commands, mistakes

app = typer.Typer(name="meta", cls=Commands, help="The meta-learner: what past tasks teach.", no_args_is_help=True)


def register(to: typer.Typer) -> None:
    """Adds the commands."""
    to.add_typer(app)


@app.callback()
def group() -> None:
    """The meta-learner: what past tasks teach."""


@app.command()
def fit(
    to: Annotated[Path, typer.Option("--to", readable=False, help="a new folder, for the fitted model")],
    tables: Annotated[
        list[Path] | None,
        typer.Option(
            "--table", readable=False, help="a folder that collect or meta fit wrote; once for each", show_default=False
        ),
    ] = None,
    runs: Annotated[
        Path | None,
        typer.Option("--runs", readable=False, help="also learn from the searches in this folder", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="the seed of the fit")] = 0,
) -> None:
    """Learn from recorded trials and own searches, on top of what ships; --meta FOLDER then starts from that."""
    with mistakes():
        from autodelta.studies.learn import learn, opened_by

        model = learn(to, tables=tuple(tables or ()), runs=runs, seed=seed)
    best = opened_by(model.found.opening)
    why = ", as the past does not predict even its own tasks" if model.found.opening is None else ""
    print(f"learned from {len(model.tasks)} tasks; searches are opened by {best}{why}")
    print(f"model:  {to}")
    use = f"--meta {quote(str(to))} --task TASK"
    print(f"use it: autodelta suggest {use}; autodelta search {use} --budget 10min")
