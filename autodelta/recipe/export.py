"""From a run to a recipe."""

import os
from pathlib import Path

from autodelta.errors import UserError
from autodelta.recipe.recipe import RECIPE_FILE, WEIGHTS_FILE, BackboneReference, Recipe, ScoreLine, read_weights
from autodelta.search import Run
from autodelta.search.answer import lines
from autodelta.search.records import TrialRecord
from autodelta.search.run import Exported
from autodelta.search.settings import versions

FOLDER = "recipe"
ORIGIN = {"run", "trial", "candidate", "backbone", "task", "columns", "train_rows"}  # which trial of which search


def export(run: Run, *, to: str | os.PathLike[str] | None = None, trial: int | None = None) -> Recipe:
    """Writes what a run found as a recipe, into the run's folder or another.

    Unless a trial is named by number: the smallest of those that tie with the winner, at the seed that validation
    prefers; before the search has ended, the best trial so far.

    Raises:
        UserError: the run has no finished trial, no such trial, or kept no weights of it, or they are damaged; or
            nothing can be written, as where another recipe lies.
    """
    recipe, weights = recipe_of(run, trial)
    folder = run.path / FOLDER if to is None else Path(to)
    if to is not None and not _is_again(recipe, folder):
        check_free(folder)
    tensors = read_weights(weights)
    try:
        return recipe.write(folder, tensors)
    except OSError as error:
        raise UserError(f"the recipe cannot be written to {folder}: {error.strerror or error}") from error


def check_free(folder: Path) -> None:
    """Raises UserError where a folder holds a recipe, trained or not, or cannot be written."""
    from autodelta.recipe.use import check_place  # it loads torch and transformers

    for file in (RECIPE_FILE, WEIGHTS_FILE):
        check_place(folder, taken_by=file)


def recipe_of(run: Run, trial: int | None) -> tuple[Recipe, Path]:
    """The recipe of what a run found, or of one of its trials, and where its weights lie.

    Raises:
        UserError: the run has no finished trial, no such trial, or kept no weights of it.
    """
    chosen, weights = _chosen(run, trial)
    settings, result = run.settings, run.result
    assert settings.worker.dtype is not None
    recipe = Recipe(
        candidate=chosen.candidate,
        parameters=chosen.parameters,
        backbone=BackboneReference(
            name=settings.worker.backbone,
            sha256=settings.backbone_sha256,
            dtype=settings.worker.dtype,
            shape=settings.shape,
        ),
        task=settings.view,
        columns=settings.worker.columns,
        train_rows=settings.worker.train_rows,
        seed=chosen.seed,
        scores=_scores(run, chosen),
        statement=tuple(lines(result.answer)) if result is not None and chosen == result.exported else (),
        run=run.name,
        trial=chosen.trial,
        versions=versions(),
    )
    return recipe, weights


def _is_again(recipe: Recipe, folder: Path) -> bool:
    """Whether a folder holds an earlier export of the same trial, which may be replaced: the run has it still."""
    try:
        there = Recipe.load(folder)
    except UserError:
        return False
    return there.model_dump(mode="json", include=ORIGIN) == recipe.model_dump(mode="json", include=ORIGIN)


def _chosen(run: Run, number: int | None) -> tuple[Exported, Path]:
    """What is exported, and where its weights lie."""
    result = run.result
    if number is None and result is not None and result.exported is not None:
        weights = run.path / result.exported.weights
        if weights.exists():  # else the search has gone on since, and found better
            return result.exported, weights
    trial = _trial(run, number)
    assert trial.candidate is not None
    assert trial.seed is not None
    assert trial.score is not None
    weights = run.weights(trial.number)
    found = Exported(
        name=f"trial {trial.number}",
        candidate=trial.candidate,
        parameters=trial.parameters,
        trial=trial.number,
        seed=trial.seed,
        weights=str(weights.relative_to(run.path)),
        validation=trial.score,
        test=None,
    )
    return found, weights


def _trial(run: Run, number: int | None) -> TrialRecord:
    if number is None:
        if run.best is None:
            raise UserError(f"run {run.name!r} has no finished trial to export")
        return run.best
    known = {trial.number: trial for trial in run.trials}
    if number not in known:
        raise UserError(f"run {run.name!r} has no trial {number}; it has {len(known)}, counted from 0")
    if known[number].state != "complete":
        raise UserError(f"trial {number} of run {run.name!r} is {known[number].state}; only finished ones are exported")
    return known[number]


def _scores(run: Run, found: Exported) -> tuple[ScoreLine, ...]:
    """The scores of the very weights that are exported: on validation, and on test where that was looked at."""
    metric, rows, seeds = run.settings.metric, run.settings.rows, (found.seed,)
    pairs = (("validation", found.validation), ("test", found.test))
    return tuple(
        ScoreLine(split=split, metric=metric, value=value, rows=rows[split], seeds=seeds)
        for split, value in pairs
        if value is not None
    )
