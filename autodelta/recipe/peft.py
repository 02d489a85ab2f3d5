"""From a run to a folder of peft's, where peft has a form for it: LoRA, (IA)³ or a prompt, one method at a time."""

import os
from pathlib import Path

from autodelta.candidate import Candidate
from autodelta.deltas.peft_format import CONFIG, check_holds, to_peft
from autodelta.errors import UserError
from autodelta.recipe.export import check_free, recipe_of
from autodelta.recipe.recipe import read_weights
from autodelta.search import Run

FOLDER = "peft"


def export_peft(run: Run, *, to: str | os.PathLike[str] | None = None, trial: int | None = None) -> Path:
    """Writes what a run found as a folder that ``peft.PeftModel.from_pretrained`` loads, and says where.

    What is found is as ``autodelta.export`` has it. The folder holds the deltas alone: not the task's template, nor its
    label words, which a recipe has.

    Raises:
        UserError: peft has no form for the composition, the backbone is not at hand, or as ``autodelta.export``.
    """
    recipe, weights = recipe_of(run, trial)
    _check_held(run, recipe.candidate)
    folder = run.path / FOLDER if to is None else Path(to)
    if to is not None:
        check_free(folder)
        if (folder / CONFIG).exists():
            raise UserError(f"there is a peft folder in {str(folder)!r} already; choose another folder")
    backbone = run.settings.worker.model_copy(update={"device": "cpu"}).load_backbone()
    if backbone.sha256 != recipe.backbone.sha256:
        raise UserError(f"the backbone {recipe.backbone.name!r} is not the one that the search began with")
    tensors = read_weights(weights)
    try:
        to_peft(backbone.model, recipe.candidate, tensors, folder)
    except OSError as error:
        raise UserError(f"the peft folder cannot be written to {folder}: {error.strerror or error}") from error
    return folder


def _check_held(run: Run, candidate: Candidate) -> None:
    """Raises UserError where peft has no form for what was chosen; it names the trials that could be taken instead."""
    try:
        check_holds(candidate)
    except UserError as error:
        front = [trial for trial in run.front if trial.candidate is not None and _held(trial.candidate)]
        others = ", ".join(f"--trial {trial.number}" for trial in front)
        raise UserError(f"{error}; of the front it holds: {others or 'none'}") from None


def _held(candidate: Candidate) -> bool:
    try:
        check_holds(candidate)
    except UserError:
        return False
    return True
