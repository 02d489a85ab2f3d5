"""``meta``: the meta-learner, fitted to recorded tables."""

from pathlib import Path
from typing import Annotated

import typer

from autodelta.cli.options import mistakes
from autodelta.errors import UserError

app = typer.Typer(name="meta", help="The meta-learner: what past tasks teach.", no_args_is_help=True)


def register(to: typer.Typer) -> None:
    """Adds the commands."""
    to.add_typer(app)


@app.command()
def fit(
    tables: Annotated[
        list[Path], typer.Option("--table", readable=False, help="a folder that collect wrote; once for each")
    ],
    to: Annotated[Path, typer.Option("--to", readable=False, help="the folder for the fitted model")],
    seed: Annotated[int, typer.Option("--seed", min=0, help="of the fit")] = 0,
) -> None:
    """Learn from the recorded trials of many tasks; search --sampler meta --meta FOLDER then starts from that."""
    from autodelta.meta.compositions import sources
    from autodelta.meta.fitting import fit as fitted
    from autodelta.meta.problem import NoTransfer
    from autodelta.meta.records import read
    from autodelta.meta.saved import save

    with mistakes():
        if to.exists() and (not to.is_dir() or any(to.iterdir())):
            raise UserError(f"the folder {str(to)!r} is there already; choose another for --to")
        try:
            model = fitted(sources(*map(read, tables)), seed=seed)
        except NoTransfer as reason:
            raise UserError(f"nothing can be learned from these tables: {reason}") from None
        save(model, to)
    print(f"learned from {len(model.tasks)} tasks; first trials: {model.found.opening}")
    print(f"model: {to}")
