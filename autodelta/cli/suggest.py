"""``suggest``: a composition for a task without a trial."""

from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from autodelta.cli.options import (
    SEED_HELP,
    AllowPickle,
    AsJson,
    Data,
    InputColumns,
    LabelColumn,
    LabelNames,
    MetaFolder,
    Metric,
    SpaceName,
    Template,
    columns,
    console,
    mistakes,
    print_json,
    say,
)

if TYPE_CHECKING:
    from autodelta.studies.suggest import Suggestion


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(suggest)


def suggest(
    task: Annotated[str, typer.Option("--task", help="a name from `autodelta tasks`, or hf:dataset/config")],
    data: Data = None,
    backbone: Annotated[str, typer.Option("--backbone", help="a hub id, a path or a bundled T5")] = "nano",
    space: SpaceName = "default",
    meta: MetaFolder = None,
    pick: Annotated[
        int | None, typer.Option("--pick", help="which line of the front to take", show_default="the best")
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option("--to", readable=False, help="a new folder for the recipe, to be trained", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help=SEED_HELP)] = 0,
    inputs: InputColumns = None,
    label: LabelColumn = None,
    label_names: LabelNames = None,
    template: Template = None,
    metric: Metric = None,
    allow_pickle: AllowPickle = False,
    as_json: AsJson = False,
) -> None:
    """Predict good compositions for a task from past tasks, in seconds and without a trial."""
    with mistakes():
        from autodelta.studies.suggest import suggest as suggested

        found = suggested(
            task, data=data, backbone=backbone, space=space, meta=meta, pick=pick, to=to, seed=seed,
            columns=columns(inputs, label=label, labels=label_names, template=template, metric=metric),
            allow_pickle=allow_pickle,
        )  # fmt: skip
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    said = {"label": label, "label-names": label_names, "template": template, "metric": metric}
    _show(found, _words(task, data, meta, backbone=backbone, space=space, inputs=inputs or (), **said))


def _show(found: "Suggestion", words: dict[str, str]) -> None:
    from autodelta.report import suggestion

    screen, summary = console(), found.model_dump(mode="json")
    for table in suggestion.tables(summary):
        screen.print(table)
    say(screen, suggestion.sentences(summary))
    if found.recipe is None:
        screen.print("recipe: add --to FOLDER", highlight=False)
    else:
        trained = f"{found.recipe.rstrip('/')}-trained"
        screen.print(f"recipe: {found.recipe}", highlight=False, soft_wrap=True)
        train = f"autodelta train --recipe {quote(found.recipe)}{words['data']} --to {quote(trained)}"
        screen.print(f"train:  {train}", highlight=False, soft_wrap=True)
    search = f"autodelta search --task {words['task']}{words['data']}{words['setting']} --sampler meta{words['meta']}"
    search += " --budget 10min"
    screen.print(f"search: {search}", highlight=False, soft_wrap=True)


def _words(
    task: str,
    data: Path | None,
    meta: Path | None,
    *,
    backbone: str,
    space: str,
    inputs: Sequence[str],
    **said: str | None,
) -> dict[str, str]:
    """What was said on the command line, for the commands that come next; a search may have others by itself."""

    def option(name: str, value: object) -> str:
        return "" if value is None else f" --{name} {quote(str(value))}"

    setting = [option("backbone", backbone), option("space", space)]
    setting += [option("input", name) for name in inputs] + [option(name, value) for name, value in said.items()]
    return {
        "task": quote(task),
        "data": option("data", data),
        "meta": option("meta", meta),
        "setting": "".join(setting),
    }
