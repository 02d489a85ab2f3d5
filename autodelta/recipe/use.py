"""Uses a recipe: predicts with it, or trains its candidate again."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from autodelta import tasks
from autodelta.backbones import Backbone, load
from autodelta.engine import devices
from autodelta.engine.assignment import Assignment, WorkerSpec
from autodelta.engine.encode import encode, encode_unlabelled
from autodelta.engine.evaluate import evaluate, label_rows
from autodelta.engine.failures import NotFinite, OutOfMemory, Stalled
from autodelta.engine.forward import Forward
from autodelta.engine.worker import Worker, single_threaded
from autodelta.errors import UserError
from autodelta.files import in_the_way, no_place, put_text
from autodelta.recipe.recipe import WEIGHTS_FILE, BackboneReference, Recipe, ScoreLine, check_readme
from autodelta.search.settings import versions
from autodelta.tasks.files import CARD, inputs_of
from autodelta.tasks.tables import check_written, table_suffix, text_of

SEEDS = 2**63  # what a tensor holds: the seed of random projections is saved with them


def predict(
    recipe: Recipe,
    *,
    task: str | None = None,
    data: str | os.PathLike[str] | None = None,
    columns: tasks.Columns | None = None,
    split: str = "test",
    backbone: str | None = None,
    device: str | None = None,
    allow_pickle: bool = False,
    to: str | os.PathLike[str] | None = None,
) -> ScoreLine:
    """The recipe's score on a split of a task, on a freshly loaded backbone; ``to`` takes the labels, row by row.

    The rows are seen through the recipe's own view; what ``columns`` leave unsaid is as the recipe has it.
    ``backbone`` names where the recipe's backbone lies now.

    Raises:
        UserError: the backbone differs from the recipe's, the rows do not fit its view, or ``to`` has no place.
    """
    to = None if to is None else Path(to)
    if to is not None:
        _check_file(to)
    view = tasks.View.model_validate(recipe.task)
    seen = tasks.load(task or view.name, data=data, columns=_columns(recipe, task, columns)).through(view)
    seen.examples(split)
    with _applied(recipe, backbone, device, allow_pickle=allow_pickle) as (loaded, forward):
        encoded = encode(loaded, seen, split)
        found = evaluate(forward, encoded, seen, loss=recipe.candidate.training.loss, tokenizer=loaded.tokenizer)
    if to is not None:
        gold = (row.label for row in seen.examples(split))
        _write(to, [{"predicted": a, "label": b} for a, b in zip(found.predictions, gold, strict=True)])
    return ScoreLine(split=split, metric=seen.metric, value=found.score, rows=len(encoded), seeds=(recipe.seed,))


def label(
    recipe: Recipe,
    rows: str | os.PathLike[str],
    *,
    backbone: str | None = None,
    device: str | None = None,
    allow_pickle: bool = False,
    to: str | os.PathLike[str] | None = None,
) -> tuple[str, ...]:
    """The recipe's label for each row of a file (JSONL, CSV, TSV or Parquet) that has the columns of its inputs.

    ``backbone`` names where the recipe's backbone lies now; ``to`` takes the labels, row by row: as CSV or TSV where it
    is called so, else as JSON lines.

    Raises:
        UserError: the backbone differs from the recipe's, a row lacks an input, or ``to`` has no place or is the
            file of the rows.
    """
    rows, to = Path(rows), None if to is None else Path(to)
    if to is not None:
        _check_file(to)
    if to is not None and to.exists() and rows.exists() and to.samefile(rows):
        raise UserError(f"the labels would replace the rows in {str(rows)!r}; choose another file")
    view = tasks.View.model_validate(recipe.task)
    inputs = inputs_of(view, rows)
    with _applied(recipe, backbone, device, allow_pickle=allow_pickle) as (loaded, forward):
        encoded = encode_unlabelled(loaded, view, inputs)
        found = label_rows(forward, encoded, view, loss=recipe.candidate.training.loss, tokenizer=loaded.tokenizer)
    if to is not None:
        _write(to, [{"predicted": one} for one in found])
    return found


@contextmanager
def _applied(
    recipe: Recipe, backbone: str | None, device: str | None, *, allow_pickle: bool
) -> Iterator[tuple[Backbone, Forward]]:
    """The recipe's backbone, freshly loaded, with the recipe's deltas on it."""
    loaded = load(
        backbone or recipe.backbone.name,
        dtype=recipe.backbone.dtype,
        device=devices.chosen(device),
        allow_pickle=allow_pickle,
    )
    with single_threaded(loaded.device.type), recipe.apply(loaded.model) as attached:
        yield loaded, Forward(loaded.model, attached.composition)


def train(
    recipe: Recipe,
    *,
    to: str | os.PathLike[str],
    task: str | None = None,
    data: str | os.PathLike[str] | None = None,
    columns: tasks.Columns | None = None,
    backbone: str | None = None,
    seed: int | None = None,
    device: str | None = None,
    allow_pickle: bool = False,
) -> Recipe:
    """Trains the recipe's candidate anew, on the same or another task or backbone; scores it once on test.

    What ``columns`` leave unsaid is as the recipe has it, the metric, too.

    Raises:
        UserError: the candidate does not fit the backbone, the training fails, the seed is no seed, or ``to`` holds a
            recipe already or cannot be written.
    """
    to = Path(to)
    check_place(to, taken_by=WEIGHTS_FILE)
    chosen = recipe.seed if seed is None else seed
    if not 0 <= chosen < SEEDS:
        raise UserError(f"a seed lies from 0 to below 2**63: {chosen}")
    spec = WorkerSpec(
        backbone=backbone or recipe.backbone.name,
        task=task or str(recipe.task["name"]),
        data=None if data is None else Path(data),
        columns=_columns(recipe, task, columns),
        train_rows=recipe.train_rows if _is_own(recipe, task) else None,
        device=devices.chosen(device),
        dtype=recipe.backbone.dtype,
        allow_pickle=allow_pickle,
    )
    worker = Worker(spec)
    recipe.candidate.check(worker.backbone.shape)
    try:
        *_, last = worker.run(Assignment(number=0, candidate=recipe.candidate, seed=chosen))
    except (NotFinite, OutOfMemory, Stalled) as error:
        raise UserError(f"the training failed: {error}") from error
    weights = worker.weights()
    test = worker.evaluate_running("test").score
    worker.close_trial()
    found = Recipe(
        candidate=recipe.candidate,
        parameters=recipe.candidate.count_parameters(worker.backbone.shape),
        backbone=reference(worker.backbone),
        task=worker.task.view(),
        columns=spec.columns,
        train_rows=spec.train_rows,
        seed=chosen,
        scores=_scores(worker.task, chosen, validation=last.score, test=test),
        versions=versions(),
    )
    try:
        return found.write(to, weights)
    except OSError as error:
        raise UserError(f"the recipe cannot be written to {to}: {error.strerror or error}") from error


def check_place(to: Path, *, taken_by: str) -> None:
    """Raises UserError where no recipe can be written, before any work is done for it.

    Args:
        to: the folder; it need not be there.
        taken_by: the file that it must not hold.
    """
    if (to / taken_by).exists():
        raise UserError(f"there is a recipe in {str(to)!r} already; choose another folder")
    nearest = in_the_way(to)
    if nearest is not None:
        raise UserError(f"no recipe can be written to {str(to)!r}: {nearest} is no folder that can be written")
    check_readme(to)


def _check_file(to: Path) -> None:
    """Raises UserError where labels cannot be put, before anything is predicted."""
    reason = no_place(to)
    if reason is not None:
        raise UserError(f"--to names a file for the labels: {reason}")
    file = to.resolve()
    if (file.parent / CARD).is_file() and file.name in (CARD, *(split + table_suffix(file) for split in tasks.SPLITS)):
        raise UserError(f"the labels would stand for a file of a task: {str(to)!r}; choose another file")
    check_written(to)


def _scores(task: tasks.Task, seed: int, **values: float) -> tuple[ScoreLine, ...]:
    return tuple(
        ScoreLine(split=split, metric=task.metric, value=value, rows=len(task.examples(split)), seeds=(seed,))
        for split, value in values.items()
    )


def reference(backbone: Backbone) -> BackboneReference:
    """What a recipe states of a backbone."""
    return BackboneReference(
        name=backbone.name, sha256=backbone.sha256, dtype=backbone.dtype_name, shape=backbone.shape
    )


def _columns(recipe: Recipe, task: str | None, given: tasks.Columns | None) -> tasks.Columns | None:
    """The columns of a task's rows: those given, and what they leave unsaid as the recipe has it; without any, those
    that the recipe knows, where its own task is meant."""
    own = recipe.columns if _is_own(recipe, task) else None
    if given is None:
        return own
    said = given.model_dump(include=given.model_fields_set)
    if own is None:
        return tasks.Columns(**{**_like(tasks.View.model_validate(recipe.task), given), **said})
    of_inputs = {"template", "group"} if own.inputs != given.inputs else set()
    return tasks.Columns(**{**own.model_dump(exclude=of_inputs), **said})


def _like(view: tasks.View, given: tasks.Columns) -> dict[str, Any]:
    """What makes other rows a task like this view's: answers, or labels, by the same metric.

    Labels are the rows' own, as their integers may count in another order, unless they are numbers: any between them
    is a label, too.
    """
    if view.open_ended and given.labels:
        return {}
    found = {"metric": view.metric, "max_new_tokens": view.max_new_tokens}
    alike = "metric" not in given.model_fields_set or given.metric == view.metric
    return {**found, "labels": view.labels} if view.ordinal and alike else found


def _is_own(recipe: Recipe, task: str | None) -> bool:
    return task in (None, recipe.task["name"])


def _write(path: Path, lines: Sequence[dict[str, str]]) -> None:
    try:
        put_text(path, text_of(lines, path))
    except OSError as error:
        raise UserError(f"the labels cannot be written to {path}: {error.strerror}") from error
