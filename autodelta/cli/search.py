"""``search`` and ``show``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autodelta.cli.options import (
    AllowPickle,
    AsJson,
    Data,
    Device,
    InputColumns,
    LabelColumn,
    LabelNames,
    Metric,
    RunName,
    Runs,
    Template,
    columns,
    console,
    mistakes,
    print_json,
)
from autodelta.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from autodelta.search import Run

CHANGEABLE = ("budget", "executor", "workers", "address", "runs")  # when a run is taken up again


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(search)
    app.command()(show)


def search(
    context: typer.Context,
    task: Annotated[
        str | None,
        typer.Option("--task", help="a name from `autodelta tasks`, or hf:dataset/config", show_default=False),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option("--budget", help="50gpu-h, 2cpu-h, 30min, 200trials; or several, with commas", show_default=False),
    ] = None,
    resume: Annotated[
        str | None, typer.Option("--resume", metavar="RUN", help="take a run up again", show_default=False)
    ] = None,
    data: Data = None,
    backbone: Annotated[
        str | None,
        typer.Option("--backbone", help="a hub id, a path or a bundled T5", show_default="t5-base or nano"),
    ] = None,
    space: Annotated[str, typer.Option("--space", help="a name from `autodelta spaces`, or a YAML file")] = "default",
    sampler: Annotated[
        str, typer.Option("--sampler", help="tpe, random, grid, gp (models only what every trial has) or nsga2")
    ] = "tpe",
    pruner: Annotated[
        str | None, typer.Option("--pruner", help="asha, hyperband or none", show_default="asha where it is possible")
    ] = None,
    confirm_share: Annotated[
        float, typer.Option("--confirm-share", help="of the time, for training the best again at fresh seeds")
    ] = 0.2,
    executor: Annotated[
        str | None, typer.Option("--executor", help="local or ray", show_default="ray with 2 workers or more")
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", help="trials at once", show_default="one per GPU or physical core")
    ] = None,
    gpus_per_worker: Annotated[
        float, typer.Option("--gpus-per-worker", help="the share of a GPU that a worker takes, such as 0.25")
    ] = 1.0,
    address: Annotated[
        str | None,
        typer.Option("--address", help="of a Ray cluster: auto, host:port, ray://host:10001", show_default=False),
    ] = None,
    log: Annotated[
        str, typer.Option("--log", help="with ray: tensorboard, mlflow, wandb; with commas", show_default=False)
    ] = "",
    seed: Annotated[int, typer.Option("--seed", help="of every draw")] = 0,
    name: Annotated[str | None, typer.Option("--name", help="of the run", show_default="task, date, number")] = None,
    runs: Runs = Path("runs"),
    device: Device = None,
    dtype: Annotated[
        str | None, typer.Option("--dtype", help="bf16 or fp32", show_default="what the device is fast at")
    ] = None,
    inputs: InputColumns = None,
    label: LabelColumn = None,
    label_names: LabelNames = None,
    template: Template = None,
    metric: Metric = None,
    allow_pickle: AllowPickle = False,
) -> None:
    """Search the best composition for a task within a budget, or go on with a search."""
    from autodelta.report.live import display
    from autodelta.search.records import INTERRUPTED
    from autodelta.search.request import Request, submit
    from autodelta.search.resuming import resume as take_up

    screen = console()
    with mistakes():
        if resume is not None:
            _check_resumable(context)
            with display(screen) as listener:
                run = take_up(
                    resume,
                    budget=budget,
                    executor=executor,
                    workers=workers,
                    address=address,
                    runs=runs,
                    listener=listener,
                )
        elif task is None or budget is None:
            raise UserError("a search needs --task and --budget, or --resume RUN")
        else:
            request = Request(
                task=task,
                budget=budget,
                data=data,
                columns=columns(inputs, label=label, labels=label_names, template=template, metric=metric),
                backbone=backbone,
                space=space,
                sampler=sampler,
                pruner=pruner,
                confirm_share=confirm_share,
                executor=executor,
                workers=workers,
                gpus_per_worker=gpus_per_worker,
                address=address,
                log=log,
                seed=seed,
                name=name,
                runs=runs,
                device=device,
                dtype=dtype,
                allow_pickle=allow_pickle,
            )
            with display(screen) as listener:
                run = submit(request, listener)
        _handed_over(screen, run)
    if listener.end_reason == INTERRUPTED:
        print(f"interrupted: what was found is kept; go on: autodelta search --resume {run.path}")
        raise typer.Exit(130)


def _check_resumable(context: typer.Context) -> None:
    """A run that is taken up again keeps what it was asked for."""
    for name in context.params:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE" and name not in ("resume", *CHANGEABLE):
            flags = ", ".join(f"--{other}" for other in CHANGEABLE)
            raise UserError(f"a run that is taken up again keeps its --{name.replace('_', '-')}; with it go: {flags}")


def _handed_over(screen: "Console", run: "Run") -> None:
    """What came out of a search, and where it lies."""
    from autodelta.recipe.export import export as write_recipe

    _summary(screen, run)
    if run.best is not None:
        screen.print(f"recipe: {write_recipe(run).folder}", highlight=False, soft_wrap=True)
    screen.print(f"run:    {run.path}", highlight=False, soft_wrap=True)
    screen.print(f"again:  autodelta show {run.path}", highlight=False, soft_wrap=True)


def show(
    run: RunName,
    runs: Runs = Path("runs"),
    with_interactions: Annotated[
        bool, typer.Option("--interactions", help="also what mattered, and which pairs of methods help or hurt")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show a run: leaderboard, Pareto front, the answer, spent budget."""
    from autodelta.search import open_run

    with mistakes():
        found = open_run(run, runs)
        if not as_json:
            _summary(console(), found)
            if with_interactions:
                _interactions(console(), found)
            return
        summary = found.as_json()
        if with_interactions:
            summary["interactions"] = found.interactions().model_dump(mode="json")
        print_json(summary)


def _summary(screen: "Console", run: "Run") -> None:
    from autodelta.report import answer, tables

    summary, result = run.as_json(), run.result
    screen.print(tables.leaderboard(summary))
    screen.print(tables.front(summary))
    if result is not None and any(one.seeds for one in result.answer.standings):
        screen.print(answer.standings(result.answer))
    for line in tables.conclusion(summary):
        screen.print(line, highlight=False)


def _interactions(screen: "Console", run: "Run") -> None:
    from autodelta.report import interactions

    found = run.interactions()
    for table in interactions.tables(found):
        screen.print(table)
    for line in interactions.sentences(found):
        screen.print(line, highlight=False)
