"""``export``, ``train`` and ``predict``: what is done with recipes."""

from pathlib import Path
from typing import Annotated

import typer

from autodelta.cli.options import (
    NEW_TOKENS_HELP,
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
    asked_for,
    columns,
    mistakes,
    print_json,
)
from autodelta.errors import UserError, one_of

FORMATS = ("recipe", "peft")
OF_A_TASK = ("task", "data", "split", "inputs", "label", "label_names")  # what `--rows` has no use for


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(export)
    app.command()(train)
    app.command()(predict)


def export(
    run: RunName,
    to: Annotated[
        Path | None, typer.Option("--to", help="where it goes", show_default="RUN/recipe or RUN/peft")
    ] = None,
    trial: Annotated[int | None, typer.Option("--trial", help="which trial", show_default="the best")] = None,
    form: Annotated[
        str, typer.Option("--format", help="recipe; or peft, which holds one of lora, ia3, prompt at a time")
    ] = "recipe",
    runs: Runs = Path("runs"),
) -> None:
    """Write the best composition of a run as a recipe, or as a folder for peft."""
    with mistakes():
        from autodelta.search import open_run

        if form not in FORMATS:
            raise one_of("format", form, FORMATS)
        found = open_run(run, runs)
        if form == "peft":
            from autodelta.recipe.peft import export_peft

            print(export_peft(found, to=to, trial=trial))
        else:
            from autodelta.recipe.export import export as write_recipe

            print(write_recipe(found, to=to, trial=trial).folder)


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
    metric: Annotated[
        str | None, typer.Option("--metric", help="hf: tasks: the metric", show_default="the recipe's")
    ] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option("--max-new-tokens", help=NEW_TOKENS_HELP, show_default="the recipe's")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train a recipe's candidate again, on the same or another task, and score it once on test."""
    with mistakes():
        from autodelta.recipe import Recipe
        from autodelta.recipe.use import train as train_again

        of_columns = {"label": label, "labels": label_names, "metric": metric}
        found = train_again(
            Recipe.load(recipe), to=to, task=task, data=data, backbone=backbone, seed=seed, device=device,
            columns=columns(inputs, **of_columns, max_new_tokens=max_new_tokens), allow_pickle=allow_pickle,
        )  # fmt: skip
        if as_json:
            print_json({"recipe": str(found.folder), "scores": [line.model_dump() for line in found.scores]})
            return
        for line in found.scores:
            print(f"{line.split} {line.metric}: {line.value:.4f} ({line.rows} rows)")
        print(f"recipe: {found.folder}")


def predict(
    context: typer.Context,
    recipe: RecipeFolder,
    rows: Annotated[
        Path | None,
        typer.Option(
            "--rows", help="a JSONL, CSV, TSV or Parquet file of rows to label, in place of a task", show_default=False
        ),
    ] = None,
    task: Annotated[
        str | None, typer.Option("--task", help="the task whose rows are labelled", show_default="the recipe's")
    ] = None,
    data: Data = None,
    split: Annotated[str, typer.Option("--split", help="train, validation or test")] = "test",
    backbone: Annotated[
        str | None, typer.Option("--backbone", help="where the recipe's backbone lies", show_default="its own name")
    ] = None,
    device: Device = None,
    allow_pickle: AllowPickle = False,
    to: Annotated[
        Path | None, typer.Option("--to", help="a file for the labels: .jsonl, .csv or .tsv", show_default=False)
    ] = None,
    inputs: InputColumns = None,
    label: LabelColumn = None,
    label_names: LabelNames = None,
    as_json: AsJson = False,
) -> None:
    """Predict labels with a recipe: of a task's split, with their score, or of rows that have none."""
    with mistakes():
        from autodelta.recipe import Recipe
        from autodelta.recipe.use import label as label_rows
        from autodelta.recipe.use import predict as predict_labels

        if rows is not None:
            for name, option in asked_for(context).items():
                if name in OF_A_TASK:
                    raise UserError(f"--rows takes the place of a task: leave out {option}")
            labels = label_rows(
                Recipe.load(recipe), rows, backbone=backbone, device=device, allow_pickle=allow_pickle, to=to
            )
            if as_json:
                print_json({"rows": len(labels), "predicted": labels})
            else:
                print(f"{len(labels)} labels: {to}" if to else "\n".join(labels))
            return
        found = predict_labels(
            Recipe.load(recipe), task=task, data=data, split=split, backbone=backbone, device=device,
            columns=columns(inputs, label=label, labels=label_names), allow_pickle=allow_pickle, to=to,
        )  # fmt: skip
        summary = {"metric": found.metric, "score": found.value, "rows": found.rows, "split": split}
        if as_json:
            print_json(summary)
        else:
            print(f"{split} {found.metric}: {found.value:.4f} ({found.rows} rows)")
