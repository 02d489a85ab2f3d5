"""``collect``: many trials to a plan, as a table that a meta-learner and simulations read."""

from pathlib import Path
from typing import Annotated

import typer

from autodelta.cli.options import AllowPickle, Data, Device, mistakes


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(collect)


def collect(
    plan: Annotated[Path, typer.Option("--plan", readable=False, help="a YAML file: tasks, numbers of candidates")],
    to: Annotated[
        Path, typer.Option("--to", readable=False, help="the table's folder; what it holds is not run again")
    ],
    data: Data = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers", min=1, help="how many trials run at once", show_default="one per GPU or physical core"
        ),
    ] = None,
    device: Device = None,
    dtype: Annotated[
        str | None, typer.Option("--dtype", help="bf16 or fp32", show_default="what the device is fast at")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would run, and what it would cost")] = False,
    allow_pickle: AllowPickle = False,
) -> None:
    """Record trials of a plan's candidates on its tasks; the same command continues what was stopped."""
    from autodelta.studies.plan import read

    with mistakes():
        asked = read(plan)
        from autodelta.studies import collect as collecting

        base = collecting.worker_spec(asked, data=data, device=device, dtype=dtype, allow_pickle=allow_pickle)
        if dry_run:
            print("\n".join(collecting.preview(asked, to, base)))
            return
        try:
            table = collecting.collect(asked, to, base, workers=workers, say=_say)
        except KeyboardInterrupt:
            print("interrupted: what is recorded is kept; the same command goes on")
            raise typer.Exit(130) from None
    print(f"table: {to} ({len(table.records)} trials)")


def _say(line: str) -> None:
    print(line, flush=True)
