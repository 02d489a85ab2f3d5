"""From a run to a recipe."""

from pathlib import Path

from autodelta.errors import UserError
from autodelta.recipe.recipe import BackboneReference, Recipe, ScoreLine
from autodelta.search import Run
from autodelta.search.records import TrialRecord
from autodelta.search.settings import versions

FOLDER = "recipe"


def export(run: Run, *, to: Path | None = None, number: int | None = None) -> Recipe:
    """Writes a trial of a run as a recipe: the best one, or that number, into the run's folder or another.

    Raises:
        UserError: the run has no finished trial, no such trial, or kept no weights of it; or nothing can be written.
    """
    from safetensors.torch import load_file

    trial = _chosen(run, number)
    assert trial.candidate is not None
    assert trial.seed is not None
    settings = run.settings
    assert settings.worker.dtype is not None
    recipe = Recipe(
        candidate=trial.candidate,
        parameters=trial.parameters,
        backbone=BackboneReference(
            name=settings.worker.backbone,
            sha256=settings.backbone_sha256,
            dtype=settings.worker.dtype,
            shape=settings.shape,
        ),
        task=settings.view,
        columns=settings.worker.columns,
        seed=trial.seed,
        scores=_scores(run, trial),
        run=run.name,
        trial=trial.number,
        versions=versions(),
    )
    folder = to or run.path / FOLDER
    try:
        return recipe.write(folder, load_file(run.weights(trial.number)))
    except OSError as error:
        raise UserError(f"the recipe cannot be written to {folder}: {error.strerror or error}") from error


def _chosen(run: Run, number: int | None) -> TrialRecord:
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


def _scores(run: Run, trial: TrialRecord) -> tuple[ScoreLine, ...]:
    """The trial's score on validation, and on test if it is the one that was scored there."""
    metric, rows = run.settings.metric, run.settings.rows
    assert trial.score is not None
    assert trial.seed is not None
    seeds = (trial.seed,)
    found = [ScoreLine(split="validation", metric=metric, value=trial.score, rows=rows["validation"], seeds=seeds)]
    test = run.test
    if test is not None and test.trial == trial.number:
        found.append(ScoreLine(split="test", metric=metric, value=test.score, rows=rows["test"], seeds=test.seeds))
    return tuple(found)
