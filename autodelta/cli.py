"""The command line: parses, calls, prints."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autodelta import __version__
from autodelta.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from autodelta.search import Run
    from autodelta.tasks import Columns

app = typer.Typer(
    name="autodelta",
    help="Finds the best composition of delta-tuning methods for a task, a T5 and a budget.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

# --- what several commands take ------------------------------------------------------------------------------------

Data = Annotated[
    Path | None,
    typer.Option("--data", readable=False, help="a folder of task folders; or set AUTODELTA_DATA", show_default=False),
]
Runs = Annotated[Path, typer.Option("--runs", readable=False, help="the folder that holds the runs")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON, for programs")]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="a run's name or its folder")]
RecipeFolder = Annotated[Path, typer.Option("--recipe", readable=False, help="a recipe's folder")]
Device = Annotated[str | None, typer.Option("--device", help="cpu or cuda", show_default=False)]
AllowPickle = Annotated[bool, typer.Option("--allow-pickle", help="also read weights that exist only in pickled form")]
InputColumns = Annotated[
    list[str] | None,
    typer.Option("--input", metavar="<str>", help="hf: tasks: an input column; once for each", show_default=False),
]
LabelColumn = Annotated[str | None, typer.Option("--label", help="hf: tasks: the label column", show_default="label")]
LabelNames = Annotated[
    str | None,
    typer.Option("--label-names", help="hf: tasks: what integers mean, from 0 on: bad,good", show_default=False),
]
Template = Annotated[
    str | None, typer.Option("--template", help="hf: tasks: 'name text: {text}'", show_default="in T5's style")
]
Metric = Annotated[str | None, typer.Option("--metric", help="hf: tasks: the metric", show_default="accuracy")]


@contextmanager
def mistakes() -> Iterator[None]:
    """A user's mistake is one line on standard error, and exit code 2."""
    try:
        yield
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        raise typer.Exit(2) from None


def console() -> "Console":
    """Standard output, as wide as the terminal, or wide enough for tables where there is none."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=140)


def print_json(data: Any) -> None:
    """JSON on standard output; scores that are no numbers are null."""
    print(json.dumps(data, indent=2, ensure_ascii=False))


def columns(inputs: list[str] | None, **said: str | None) -> "Columns | None":
    """Which columns of an hf: data set are what, if that was said."""
    from autodelta.tasks import Columns

    found: dict[str, Any] = {key: value for key, value in said.items() if value is not None}
    if not inputs:
        if found:
            raise UserError(f"--{next(iter(found))} is for hf: tasks, which need --input, once for each input column")
        return None
    if "labels" in found:
        found["labels"] = tuple(name.strip() for name in found["labels"].split(","))
    return Columns(inputs=tuple(inputs), **found)


# --- commands ------------------------------------------------------------------------------------------------------


@app.command()
def search(
    task: Annotated[str, typer.Option("--task", help="a name from `autodelta tasks`, or hf:dataset/config")],
    budget: Annotated[str, typer.Option("--budget", help="50gpu-h, 2cpu-h, 30min, 200trials; or several, with commas")],
    data: Data = None,
    backbone: Annotated[
        str | None,
        typer.Option("--backbone", help="a hub id, a path or a bundled T5", show_default="t5-base or nano"),
    ] = None,
    space: Annotated[str, typer.Option("--space", help="a name from `autodelta spaces`, or a YAML file")] = "default",
    sampler: Annotated[
        str, typer.Option("--sampler", help="tpe, random, grid, gp (models only what every trial has) or nsga2")
    ] = "tpe",
    executor: Annotated[
        str | None, typer.Option("--executor", help="local or ray", show_default="ray with 2 workers or more")
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", help="trials at once", show_default="one per GPU or physical core")
    ] = None,
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
    """Search the best composition for a task within a budget."""
    from autodelta.report.live import display
    from autodelta.search.request import Request, submit
    from autodelta.search.session import INTERRUPTED

    screen = console()
    with mistakes():
        request = Request(
            task=task,
            budget=budget,
            data=data,
            columns=columns(inputs, label=label, labels=label_names, template=template, metric=metric),
            backbone=backbone,
            space=space,
            sampler=sampler,
            executor=executor,
            workers=workers,
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
        print("interrupted: what was found is kept, test was not touched; the same command starts a new run")
        raise typer.Exit(130)


def _handed_over(screen: "Console", run: "Run") -> None:
    """What came out of a search, and where it lies."""
    from autodelta.recipe.export import export as write_recipe

    _summary(screen, run.as_json())
    if run.best is not None:
        screen.print(f"recipe: {write_recipe(run).folder}", highlight=False, soft_wrap=True)
    screen.print(f"run:    {run.path}", highlight=False, soft_wrap=True)
    screen.print(f"again:  autodelta show {run.path}", highlight=False, soft_wrap=True)


@app.command()
def show(run: RunName, runs: Runs = Path("runs"), as_json: AsJson = False) -> None:
    """Show a run: leaderboard, Pareto front, the best so far, spent budget."""
    from autodelta.search import open_run

    with mistakes():
        summary = open_run(run, runs).as_json()
        if as_json:
            print_json(summary)
        else:
            _summary(console(), summary)


def _summary(screen: "Console", summary: dict[str, Any]) -> None:
    from autodelta.report import tables

    screen.print(tables.leaderboard(summary))
    screen.print(tables.front(summary))
    for line in tables.conclusion(summary):
        screen.print(line, highlight=False)


@app.command()
def export(
    run: RunName,
    to: Annotated[Path | None, typer.Option("--to", help="where the recipe goes", show_default="RUN/recipe")] = None,
    trial: Annotated[int | None, typer.Option("--trial", help="which trial", show_default="the best")] = None,
    runs: Runs = Path("runs"),
) -> None:
    """Write the best composition of a run as a recipe."""
    with mistakes():
        from autodelta.recipe.export import export as write_recipe
        from autodelta.search import open_run

        recipe = write_recipe(open_run(run, runs), to=to, number=trial)
        print(recipe.folder)


@app.command()
def train(
    recipe: RecipeFolder,
    to: Annotated[Path, typer.Option("--to", help="where the new recipe goes")],
    task: Annotated[str | None, typer.Option("--task", help="another task", show_default="the recipe's")] = None,
    data: Data = None,
    backbone: Annotated[str | None, typer.Option("--backbone", help="another T5", show_default="the recipe's")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="another seed", show_default="the recipe's")] = None,
    device: Device = None,
    allow_pickle: AllowPickle = False,
    inputs: InputColumns = None,
    label: LabelColumn = None,
    label_names: LabelNames = None,
    as_json: AsJson = False,
) -> None:
    """Train a recipe's candidate again, on the same or another task, and score it once on test."""
    with mistakes():
        from autodelta.recipe import Recipe
        from autodelta.recipe.use import train as train_again

        found = train_again(
            Recipe.load(recipe), to=to, task=task, data=data, backbone=backbone, seed=seed, device=device,
            columns=columns(inputs, label=label, labels=label_names), allow_pickle=allow_pickle,
        )  # fmt: skip
        if as_json:
            print_json({"recipe": str(found.folder), "scores": [line.model_dump() for line in found.scores]})
            return
        for line in found.scores:
            print(f"{line.split} {line.metric}: {line.value:.4f} ({line.rows} rows)")
        print(f"recipe: {found.folder}")


@app.command()
def predict(
    recipe: RecipeFolder,
    task: Annotated[str | None, typer.Option("--task", help="whose rows", show_default="the recipe's")] = None,
    data: Data = None,
    split: Annotated[str, typer.Option("--split", help="train, validation or test")] = "test",
    backbone: Annotated[
        str | None, typer.Option("--backbone", help="where the recipe's backbone lies", show_default="its own name")
    ] = None,
    device: Device = None,
    allow_pickle: AllowPickle = False,
    to: Annotated[Path | None, typer.Option("--to", help="a JSONL file for the labels", show_default=False)] = None,
    inputs: InputColumns = None,
    label: LabelColumn = None,
    label_names: LabelNames = None,
    as_json: AsJson = False,
) -> None:
    """Predict the labels of a split with a recipe, and score them."""
    with mistakes():
        from autodelta.recipe import Recipe
        from autodelta.recipe.use import predict as predict_labels

        found = predict_labels(
            Recipe.load(recipe), task=task, data=data, split=split, backbone=backbone, device=device,
            columns=columns(inputs, label=label, labels=label_names), allow_pickle=allow_pickle, to=to,
        )  # fmt: skip
        summary = {"metric": found.metric, "score": found.value, "rows": found.rows, "split": split}
        if as_json:
            print_json(summary)
        else:
            print(f"{split} {found.metric}: {found.value:.4f} ({found.rows} rows)")


@app.command()
def tasks(data: Data = None, as_json: AsJson = False) -> None:
    """List the tasks that can be named."""
    from autodelta.tasks import available

    with mistakes():
        found = available(data)
    if as_json:
        print_json([info.model_dump(mode="json") for info in found])
        return
    from autodelta.report.tables import rows

    lines = [
        (info.name, info.origin, info.kind, str(len(info.labels) or ""), info.metric, info.problem or info.licence)
        for info in found
    ]
    console().print(rows("Tasks", ("task", "from", "kind", "labels", "metric", "licence"), lines))


@app.command()
def spaces(as_json: AsJson = False) -> None:
    """List the search spaces that ship with autodelta."""
    from autodelta.space import describe, names

    found = [describe(name) for name in names()]
    if as_json:
        print_json([info.model_dump(mode="json") for info in found])
        return
    from autodelta.report.tables import rows

    lines = [(info.name, ", ".join(info.methods), str(info.at_most), info.description) for info in found]
    console().print(rows("Search spaces", ("space", "methods", "at once", "what it is for"), lines))


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


if __name__ == "__main__":
    app()
