"""``export``, ``train`` and ``predict``: what is done with recipes."""

from pathlib import Path
from typing import Annotated

import typer

from autodelta.cli.options import (
    AllowPickle,
    AsJson,
    Data,
    Device,
    InputColumns,
    LabelColumn,
    LabelNames,
    RecipeFolder,
    RunName,
    Runs,
    columns,
    mistakes,
    print_json,
)


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(export)
    app.command()(train)
    app.command()(predict)


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
