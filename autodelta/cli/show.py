"""``show``, and how a run or a size study looks in a terminal."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autodelta.cli.options import AsJson, RunName, Runs, console, mistakes, print_json, say
from autodelta.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from autodelta.search import Run
    from autodelta.studies.sizes import SizeStudy


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(show)


def show(
    run: RunName,
    runs: Runs = Path("runs"),
    with_interactions: Annotated[
        bool, typer.Option("--interactions", help="also what mattered, and which pairs of methods help or hurt")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show a run: leaderboard, Pareto front, the answer, spent budget; or a study over train sizes."""
    from autodelta.search import open_run
    from autodelta.studies.sizes import is_study, open_sizes

    with mistakes():
        if is_study(run, runs):
            if with_interactions:
                raise UserError(f"--interactions is of one run: name one in {run}, such as {run}/all")
            study = open_sizes(run, runs)
            if as_json:
                print_json(study.as_json())
            else:
                show_study(console(), study)
            return
        found = open_run(run, runs)
        if not as_json:
            show_run(console(), found)
            if with_interactions:
                _interactions(console(), found)
            return
        summary = found.as_json()
        if with_interactions:
            summary["interactions"] = found.interactions().model_dump(mode="json")
        print_json(summary)


def show_run(screen: "Console", run: "Run") -> None:
    """Leaderboard, front, the answer, what was spent, and which sampler chose: not always the one asked for."""
    from autodelta.report import answer, tables

    summary, result = run.as_json(), run.result
    screen.print(tables.leaderboard(summary))
    screen.print(tables.front(summary))
    if result is not None and any(one.seeds for one in result.answer.standings):
        screen.print(answer.standings(result.answer))
    say(screen, [*tables.conclusion(summary), f"sampler: {run.settings.sampler}"])


def show_study(screen: "Console", study: "SizeStudy") -> None:
    """The recommendation at each size, the winners at every size, the crossovers and what was spent."""
    from autodelta.report import sizes

    summary = study.as_json()
    screen.print(sizes.recommendations(summary))
    if summary["answer"]["winners"]:
        screen.print(sizes.matrix(summary))
    say(screen, sizes.conclusion(summary))
    for line in sizes.places(summary):
        screen.print(line, highlight=False, soft_wrap=True)


def _interactions(screen: "Console", run: "Run") -> None:
    from autodelta.report import interactions

    found = run.interactions()
    for table in interactions.tables(found):
        screen.print(table)
    say(screen, interactions.sentences(found))
