"""The recipe itself: what its folder holds, reading and writing it, and applying it to a T5.

``recipe.yaml`` holds the candidate, the backbone's name and hash, the task's text-to-text view, seeds, library versions
and scores; ``delta.safetensors`` the trained deltas, unless it is a suggestion; ``README.md`` a model card.
"""

import os
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, Self

import yaml
from pydantic import Field, PrivateAttr, ValidationError, field_validator

from autodelta.candidate import Candidate
from autodelta.errors import UserError, first_problem, one_line
from autodelta.files import sha256, write_text, write_whole
from autodelta.frozen import Frozen
from autodelta.recipe.card import card
from autodelta.shape import BackboneShape
from autodelta.tasks import Columns, View

if TYPE_CHECKING:
    from torch import Tensor

    from autodelta.deltas.attached import Attached

RECIPE_FILE, WEIGHTS_FILE, CARD_FILE = "recipe.yaml", "delta.safetensors", "README.md"
SCHEMA = 1


class BackboneReference(Frozen):
    """Which backbone the deltas were trained on."""

    name: str
    sha256: str  # of the weights rounded to bfloat16
    dtype: str  # bf16 or fp32, as it was loaded
    shape: BackboneShape


class ScoreLine(Frozen):
    """One measured score."""

    split: str
    metric: str
    value: float
    rows: int
    seeds: tuple[int, ...]


class Recipe(Frozen):
    """What ``recipe.yaml`` states; ``folder`` is where it was read from."""

    schema_version: int = SCHEMA
    candidate: Candidate
    parameters: int
    backbone: BackboneReference
    task: dict[str, Any]  # the view: template, label words, metric
    columns: Columns | None = None  # of an hf: data set
    train_rows: int | None = None  # drawn by class; all where none is said
    seed: int
    scores: tuple[ScoreLine, ...]
    statement: tuple[str, ...] = ()  # what the search says of it, in sentences
    run: str | None = None
    trial: int | None = None
    versions: dict[str, str] = Field(default_factory=dict)
    weights_sha256: str | None = None  # of the weights' file; None of a suggestion
    _folder: Path | None = PrivateAttr(default=None)

    @field_validator("task")
    @classmethod
    def _is_a_view(cls, value: dict[str, Any]) -> dict[str, Any]:
        View.model_validate(value)
        return value

    @property
    def folder(self) -> Path:
        """The folder that holds the weights."""
        if self._folder is None:
            raise UserError("this recipe was made in memory; write it to a folder first")
        return self._folder

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """The recipe in a folder, which its file may name, too.

        Raises:
            UserError: the folder holds no recipe, or one that this version cannot read.
        """
        folder = Path(path).parent if Path(path).name == RECIPE_FILE else Path(path)
        file = folder / RECIPE_FILE
        if not file.is_file():
            raise UserError(f"no recipe in {str(path)!r}: {RECIPE_FILE} is missing")
        try:
            data = yaml.safe_load(file.read_text(encoding="utf8"))
            if isinstance(data, dict) and data.get("schema_version", SCHEMA) != SCHEMA:
                raise UserError(f"{file} has schema version {data['schema_version']}; this autodelta reads {SCHEMA}")
            recipe = cls.model_validate(data)
        except UserError:
            raise
        except (ValueError, RecursionError, yaml.YAMLError) as error:  # YAML has dates that no calendar has, too
            raise UserError(f"{file} cannot be read: {_said(error)}") from error
        recipe._folder = folder
        return recipe

    def weights(self) -> "dict[str, Tensor]":
        """The trained delta parameters.

        Raises:
            UserError: the weights are missing, damaged or another recipe's, or it was never trained.
        """
        file = self.folder / WEIGHTS_FILE
        if not file.exists() and not self.scores:
            raise UserError(
                f"the recipe in {str(self.folder)!r} is a suggestion that nobody has trained yet; first: "
                f"autodelta train --recipe {quote(str(self.folder))} --to FOLDER"
            )
        found = read_weights(file)
        if self.weights_sha256 not in (None, sha256(file)):
            raise UserError(f"{file} has other weights than those that {RECIPE_FILE} is of; export or train it again")
        return found

    def apply(self, model: Any) -> "Attached":
        """Puts the trained deltas on a plain Hugging Face T5; ``.detach()`` takes them off again.

        Raises:
            UserError: the model is not the backbone that the recipe was trained on, or the weights are missing or
                damaged; the model is as it was.
        """
        from autodelta.backbones import weights_sha256
        from autodelta.deltas import attach

        shape = BackboneShape.of(model)
        if shape != self.backbone.shape:
            raise UserError(f"the recipe is for {self.backbone.name!r}: {_difference(self.backbone.shape, shape)}")
        found = weights_sha256(model)
        if found != self.backbone.sha256:
            raise UserError(
                f"the recipe is for {self.backbone.name!r} with weights {self.backbone.sha256[:12]}; "
                f"these are {found[:12]} of the same shape"
            )
        weights = self.weights()
        attached = attach(model, self.candidate, seed=self.seed)
        try:
            attached.load_state_dict(weights)
        except BaseException:
            attached.detach()
            raise
        return attached

    def write(self, folder: Path, weights: "dict[str, Tensor] | None") -> "Recipe":
        """Writes the recipe with its weights and card; what stood there before is replaced file by file, and by the
        weights' hash a recipe knows its own: at another seed they have the same names and shapes.

        Without weights it is a suggestion: it has no scores, and can be trained.

        Raises:
            UserError: the folder has a README of its own, which the card would replace.
        """
        check_readme(folder)
        folder.mkdir(parents=True, exist_ok=True)
        known = None
        if weights is not None:
            from safetensors.torch import save_file

            write_whole(folder / WEIGHTS_FILE, lambda path: save_file(weights, path, metadata={"format": "pt"}))
            known = sha256(folder / WEIGHTS_FILE)
        said = self.model_copy(update={"weights_sha256": known}).model_dump(mode="json")
        text = yaml.safe_dump(said, sort_keys=False, allow_unicode=True)
        write_text(folder / RECIPE_FILE, text)
        write_text(folder / CARD_FILE, card(self))  # last: beside a recipe it is known as the recipe's own
        return Recipe.load(folder)


def read_weights(file: Path) -> "dict[str, Tensor]":
    """The tensors in a file of weights.

    Raises:
        UserError: it is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(file)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{file} is missing or damaged: {_said(error)}") from error


def check_readme(folder: Path) -> None:
    """Raises UserError where a folder has a README that is no recipe's: somebody wrote it, and it would be replaced."""
    if (folder / CARD_FILE).exists() and not (folder / RECIPE_FILE).exists():
        raise UserError(f"{str(folder)!r} has a {CARD_FILE} that is no recipe's; choose another folder")


def _said(error: Exception) -> str:
    return first_problem(error) if isinstance(error, ValidationError) else one_line(error)


def _difference(wanted: BackboneShape, found: BackboneShape) -> str:
    theirs = found.model_dump()
    differing = [(key, value) for key, value in wanted.model_dump().items() if value != theirs[key]]
    return "; ".join(f"{key} {value}, not {theirs[key]}" for key, value in differing)
