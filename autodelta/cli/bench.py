"""``bench``: samplers and pruners compared on a recorded table."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autodelta.cli.options import AsJson, console, mistakes, print_json
from autodelta.errors import UserError
from autodelta.files import no_place

if TYPE_CHECKING:
    from rich.table import Table

    from autodelta.studies.bench import Comparison

SHOWN_TRIALS = (1, 5, 10, 25)
SHOWN_SHARES = (0.25, 1.0)


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(bench)


def bench(
    table: Annotated[Path, typer.Option("--table", readable=False, help="a folder that `autodelta collect` wrote")],
    samplers: Annotated[
        str,
        typer.Option(
            "--samplers",
            help="with commas: random, tpe, gp; meta, portfolio, shared, nearest, ... learn from the other tasks",
        ),
    ] = "random,tpe,gp",
    pruners: Annotated[
        str, typer.Option("--pruners", help="none, asha, hyperband; with commas")
    ] = "none,asha,hyperband",
    searches: Annotated[int, typer.Option("--searches", min=1, help="seeds for each task and method")] = 100,
    workers: Annotated[int, typer.Option("--workers", min=1, help="trials that each search runs at once")] = 1,
    full_trials: Annotated[
        int | None,
        typer.Option(
            "--full-trials",
            min=1,
            help="the budget of a search: the device-seconds of so many average trials",
            show_default="half of the candidates, at most 50",
        ),
    ] = None,
    space: Annotated[
        str | None,
        typer.Option("--space", help="a name from `autodelta spaces`, or a YAML file", show_default="the table's"),
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="the first search's seed; the next search has the next one")
    ] = 0,
    folds: Annotated[
        int,
        typer.Option(
            "--folds", min=2, help="parts that tasks are split into, for samplers that learn from other tasks"
        ),
    ] = 10,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="processes")] = 1,
    to: Annotated[Path | None, typer.Option("--to", help="a CSV file for all curves", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Compare samplers and pruners on a recorded table, by simulated searches."""
    from autodelta.studies.bench import Bench, compare, write_csv

    with mistakes():
        reason = None if to is None else no_place(to)
        if reason is not None:
            raise UserError(f"--to names a file for the curves: {reason}")
        found = compare(
            Bench(
                table=table,
                samplers=_names(samplers),
                pruners=_names(pruners),
                searches=searches,
                workers=workers,
                full_trials=full_trials,
                space=space,
                seed=seed,
                folds=folds,
                jobs=jobs,
            ),
            say=lambda text: print(text, file=sys.stderr),
        )
    if as_json:
        print_json(found.as_json())
    else:
        console().print(_table(found))
    if to is not None:
        with mistakes():
            write_csv(found, to)


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def _table(found: "Comparison") -> "Table":
    """Regret at a few numbers of trials and shares of the budget, and the rank at the end."""
    from autodelta.report.tables import rows

    by_place = {(row["axis"], row["at"], row["sampler"], row["pruner"]): row for row in found.rows()}
    trials = [n for n in SHOWN_TRIALS if ("trials", float(n), *found.bench.methods[0]) in by_place]
    places = [("trials", float(n)) for n in trials] + [("seconds", share) for share in SHOWN_SHARES]
    heads = [f"@{n} trials" for n in trials] + [f"@{share:.0%} spent" for share in SHOWN_SHARES]
    lines = []
    for number, (sampler, pruner) in enumerate(found.bench.methods):
        cells = [by_place[axis, at, sampler, pruner] for axis, at in places]
        regrets = [_cell(row, "regret", digits=3) for row in cells]
        ended = f"{found.ended[number].mean():.0f}"
        lines.append((sampler, pruner, *regrets, _cell(cells[-1], "rank", digits=2), ended))
    table = rows(
        f"Mean normalised regret of {found.bench.searches} searches on each of {len(found.tasks)} tasks",
        ("sampler", "pruner", *heads, "last rank", "trials"),
        lines,
    )
    least, most = min(found.full_trials), max(found.full_trials)
    budget = f"{most} average trials" if least == most else f"{least} to {most} average trials, by task"
    table.caption = (
        f"±: half of the 95 % interval over families of tasks and searches. A search may spend the device-seconds of "
        f"{budget}; trials: how many it came to, stopped ones too"
    )
    table.caption_justify = "left"
    return table


def _cell(row: dict[str, Any], name: str, *, digits: int) -> str:
    half = (row[f"{name}_high"] - row[f"{name}_low"]) / 2
    return f"{row[name]:.{digits}f} ±{half:.{digits}f}"
