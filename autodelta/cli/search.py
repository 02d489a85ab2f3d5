"""``search``: at one amount of labelled data, or at several."""

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autodelta.cli.options import (
    SEED_HELP,
    SPACE_HELP,
    AllowPickle,
    Data,
    Device,
    InputColumns,
    LabelColumn,
    LabelNames,
    MaxNewTokens,
    MetaFolder,
    Metric,
    Runs,
    Template,
    asked_for,
    columns,
    console,
    mistakes,
)
from autodelta.cli.show import show_run, show_study
from autodelta.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from autodelta.search import Run
    from autodelta.search.request import Request
    from autodelta.studies.sizes import SizeStudy

# When a run is continued.
CHANGEABLE = ("budget", "executor", "workers", "address", "stop_when_worth_less", "runs")


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(search)


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
        str | None, typer.Option("--resume", metavar="RUN", help="continue a run", show_default=False)
    ] = None,
    train_sizes: Annotated[
        str | None,
        typer.Option(
            "--train-sizes", help="a search for each number of training rows: 100,1000,all", show_default=False
        ),
    ] = None,
    data: Data = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            "--backbone",
            help="a hub id, a path or a bundled T5",
            show_default="google/t5-base-lm-adapt with CUDA, else nano",
        ),
    ] = None,
    space: Annotated[
        str | None,
        typer.Option("--space", help=SPACE_HELP, show_default="thorough with CUDA, else default"),
    ] = None,
    sampler: Annotated[
        str | None,
        typer.Option(
            "--sampler",
            help="meta, tpe, random, grid, or gp and nsga2 (learn only what every trial has)",
            show_default="meta where past trials fit, else tpe",
        ),
    ] = None,
    meta: MetaFolder = None,
    stop_when_worth_less: Annotated[
        float | None,
        typer.Option(
            "--stop-when-worth-less",
            help="start no more trials when the best next one is expected to gain less in score than this, say 0.002",
            show_default="only the budget ends the search",
        ),
    ] = None,
    pruner: Annotated[
        str | None, typer.Option("--pruner", help="asha, hyperband or none", show_default="asha where it is possible")
    ] = None,
    confirm_share: Annotated[
        float, typer.Option("--confirm-share", help="share of the time for training the best again at fresh seeds")
    ] = 0.2,
    executor: Annotated[
        str | None, typer.Option("--executor", help="local or ray", show_default="ray with 2 workers or more")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", help="how many trials run at once", show_default="one per GPU or physical core"),
    ] = None,
    pack: Annotated[
        bool, typer.Option("--pack", help="train several candidates at a time on a worker, where it pays")
    ] = False,
    gpus_per_worker: Annotated[
        float, typer.Option("--gpus-per-worker", help="the share of a GPU that a worker takes, such as 0.25")
    ] = 1.0,
    address: Annotated[
        str | None,
        typer.Option("--address", help="a Ray cluster: auto, host:port, ray://host:10001", show_default=False),
    ] = None,
    log: Annotated[
        str,
        typer.Option(
            "--log", help="loggers, with ray: tensorboard, mlflow, wandb; or several, with commas", show_default=False
        ),
    ] = "",
    seed: Annotated[int, typer.Option("--seed", help=SEED_HELP)] = 0,
    name: Annotated[
        str | None, typer.Option("--name", help="the run's name", show_default="task, date, number")
    ] = None,
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
    max_new_tokens: MaxNewTokens = None,
    allow_pickle: AllowPickle = False,
) -> None:
    """Search for the best composition for a task within a budget, at one train size or several; or continue a run."""
    given = dict(locals())
    with mistakes():
        if resume is not None:
            _check_resumable(context)
            _go_on(resume, {name: given[name] for name in CHANGEABLE})
        elif task is None or budget is None:
            raise UserError("a search needs --task and --budget, or --resume RUN")
        else:
            _begin(_request(given), train_sizes)


def _request(given: dict[str, Any]) -> "Request":
    """A request from all options by name; what was not said is as ``Request`` has it."""
    from dataclasses import fields

    from autodelta.search.request import Request

    of_columns = {"label": given["label"], "labels": given["label_names"]}
    of_columns |= {name: given[name] for name in ("template", "metric", "max_new_tokens")}
    known = {field.name for field in fields(Request)} & given.keys()
    said = {name: given[name] for name in known if given[name] is not None}
    return Request(columns=columns(given["inputs"], **of_columns), **said)


def _begin(request: "Request", train_sizes: str | None) -> None:
    """A new search, or one for each train size."""
    from autodelta.report.live import display
    from autodelta.search.request import submit
    from autodelta.studies.sizes import read_sizes, submit_sizes

    screen = console()
    sizes = None if train_sizes is None else read_sizes(train_sizes)
    with display(screen) as listener:
        found = submit(request, listener) if sizes is None else submit_sizes(request, sizes, listener)
    _handed_over(screen, found, listener.end_reason)


def _go_on(name: str, changes: dict[str, Any]) -> None:
    """A search or a size study from where it stands."""
    from autodelta.report.live import display
    from autodelta.search.resuming import resume
    from autodelta.studies.sizes import is_study, resume_sizes

    screen = console()
    take_up = resume_sizes if is_study(name, changes["runs"]) else resume
    with display(screen) as listener:
        found = take_up(name, listener=listener, **changes)
    _handed_over(screen, found, listener.end_reason)


def _check_resumable(context: typer.Context) -> None:
    """A run that is continued keeps what it was asked for."""
    flags = {str(option.name): option.opts[0] for option in context.command.params}
    for name, flag in asked_for(context).items():
        if name not in ("resume", *CHANGEABLE):
            others = ", ".join(flags[other] for other in CHANGEABLE)
            raise UserError(f"a run that is continued keeps its {flag}; what can change: {others}")


def _handed_over(screen: "Console", found: "Run | SizeStudy", ended: str) -> None:
    """What came out, and where it lies; an interrupted search ends the command so."""
    from autodelta.recipe.export import export as write_recipe
    from autodelta.search import Run
    from autodelta.search.records import INTERRUPTED

    if isinstance(found, Run):
        runs = [found]
        show_run(screen, found)
    else:
        runs = list(found.runs.values())
        show_study(screen, found)
    for run in runs:
        if run.best is not None:
            try:
                recipe = str(write_recipe(run).folder)
            except UserError as error:  # weights that somebody removed: the search has ended all the same
                recipe = f"none; {error}"
            screen.print(f"recipe: {recipe}", highlight=False, soft_wrap=True)
    screen.print(f"run:    {found.path}", highlight=False, soft_wrap=True)
    place = quote(str(found.path))
    screen.print(f"again:  autodelta show {place}", highlight=False, soft_wrap=True)
    if ended == INTERRUPTED:
        print(f"interrupted: what was found is kept; go on: autodelta search --resume {place}")
        raise typer.Exit(130)
