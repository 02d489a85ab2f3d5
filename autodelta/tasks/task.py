"""A task: a view and its rows in three splits. Here are also the checks that hold for rows from any source."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NamedTuple, Self

from pydantic import Field, SkipValidation

from autodelta.errors import UserError, one_of
from autodelta.tasks import metrics
from autodelta.tasks.carve import carve, sample
from autodelta.tasks.view import View

SPLITS = ("train", "validation", "test")
CARVING_SEED = 0  # the same for everybody: a task's splits are part of what the task is


class Row(NamedTuple):
    """One labelled row; its fields stand in the order of the view's inputs."""

    fields: tuple[str, ...]
    label: str


class Example(NamedTuple):
    """One row as the model sees it: the input text, the label or answer, and the text that is to be written."""

    input: str
    label: str
    target: str


Rows = tuple[Row, ...]


class Task(View):
    """Labelled rows with their text-to-text view. Rows are trusted here: `assemble` has checked them."""

    kind: str = ""
    source: str = ""
    licence: str = ""
    notes: tuple[str, ...] = ()  # what the user should hear: what was carved, dropped or repeated
    rows: Annotated[dict[str, Rows], SkipValidation] = Field(repr=False)

    def examples(self, split: str) -> list[Example]:
        """The rows of train, validation or test as text in, text out, in their order."""
        if split not in SPLITS:
            raise one_of("split", split, SPLITS)
        return [Example(self.render(row.fields), row.label, self.word(row.label)) for row in self.rows[split]]

    def view(self) -> dict[str, Any]:
        """What a recipe keeps: plain JSON, from which `View.model_validate` makes the view again."""
        return self.model_dump(mode="json", include=set(View.model_fields))

    def through(self, view: View) -> "Task":
        """The same rows seen through another view (a recipe's), which may reorder or drop fields.

        Raises:
            UserError: the view wants a field that these rows lack, or does not know one of their labels.
        """
        for field in view.inputs:
            if field not in self.inputs:
                raise UserError(f"{self.name}: {one_of('field', field, self.inputs)}")
        order = [self.inputs.index(field) for field in view.inputs]
        rows = {
            split: tuple(Row(tuple(row.fields[at] for at in order), view.label_of(row.label)) for row in found)
            for split, found in self.rows.items()
        }
        return self.model_copy(update={**dict(view), "name": self.name, "rows": rows})

    def limited(self, rows: int, seed: int) -> Self:
        """The task with only so many rows of train, drawn by class; as it is where train has no more.

        Raises:
            UserError: too few rows to show each class of train once.
        """
        whole = self.rows["train"]
        if rows >= len(whole):
            return self
        shown = len({self.stratum(row.label) for row in whole})
        least = 1 if self.ordinal else shown
        if rows < least:
            raise UserError(f"{self.name}: {rows} rows of train cannot show each of {shown} labels; ask for {least}")
        texts = ["\n".join(row.fields) for row in whole]
        kept = sample([self.stratum(row.label) for row in whole], texts, size=rows, seed=seed)
        return self.model_copy(update={"rows": {**self.rows, "train": tuple(whole[index] for index in kept)}})

    def fingerprint(self) -> str:
        """A hash over the view and every row, in order: equal for tasks that train and score alike."""
        digest = hashlib.sha256(json.dumps(self.view(), sort_keys=True).encode())
        for split in SPLITS:
            digest.update(split.encode())
            for row in self.rows[split]:
                digest.update(json.dumps(row, ensure_ascii=False).encode())
        return digest.hexdigest()


def assemble(
    view: View,
    splits: Mapping[str, Sequence[Row]],
    *,
    group: str | None = None,
    kind: str = "",
    source: str = "",
    licence: str = "",
    notes: Sequence[str] = (),
) -> Task:
    """A task from rows of any source; where there is no validation split, it is carved out of train.

    group names the field whose equal values stay on one side of the carving; without it only equal inputs do.

    Raises:
        UserError: a split is empty, validation or test has a label that train never shows, or the metric of free texts
            sees nothing of them.
    """
    rows = {split: tuple(found) for split, found in splits.items()}
    said = list(notes)
    for split, found in rows.items():
        if not found:
            raise UserError(f"{view.name}: the {split} split is empty; it needs at least one row")
    if "validation" not in rows:
        rows["train"], rows["validation"] = _carved(view, rows["train"], group)
        said.append(f"{len(rows['validation'])} rows of validation were carved out of train")
    if view.open_ended:
        _check_answers(view, rows)
        said.append(f"{view.name} names no labels: answers are free texts, {view.max_new_tokens} tokens at most")
    elif not view.ordinal:  # a number between others can be learned
        _check_labels(view, rows)
    seen: set[tuple[str, ...]] = set()
    for split, before in {"train": "", "validation": "train", "test": "train or validation"}.items():
        repeated = sum(row.fields in seen for row in rows[split])
        if repeated:
            said.append(f"{repeated} of {len(rows[split])} rows of {split} have an input that {before} has too")
        seen.update(row.fields for row in rows[split])
    return Task(**dict(view), kind=kind, source=source, licence=licence, notes=tuple(said), rows=rows)


def _carved(view: View, train: Rows, group: str | None) -> tuple[Rows, Rows]:
    at = None if group is None else view.inputs.index(group)
    groups = ["\n".join(row.fields) if at is None else row.fields[at] for row in train]
    held = set(carve([view.stratum(row.label) for row in train], groups, CARVING_SEED))
    if not held:
        raise UserError(
            f"{view.name}: validation cannot be carved out of {len(train)} rows of train with {len(set(groups))} "
            f"different {'inputs' if group is None else f'values of {group!r}'}, as equal ones stay together; add a "
            "validation split, or rows until two that differ have one label"
        )
    kept = tuple(row for index, row in enumerate(train) if index not in held)
    return kept, tuple(train[index] for index in sorted(held))


def _check_answers(view: View, rows: Mapping[str, Rows]) -> None:
    """Where a metric sees nothing of the answers, whatever is written is wrong."""
    score = metrics.TEXTS[view.metric]
    for split, found in rows.items():
        if not any(score(row.label, row.label) for row in found):
            others = ", ".join(name for name in metrics.TEXTS if name != view.metric)
            seen = f"{view.metric!r} sees no word (a to z, digits) in the answers of {split}"
            raise UserError(f"{view.name}: {seen}; choose from: {others}")


def _check_labels(view: View, rows: Mapping[str, Rows]) -> None:
    """What train never shows cannot be learned."""
    known = {row.label for row in rows["train"]}
    for split in ("validation", "test"):
        for label in sorted({row.label for row in rows[split]} - known):
            raise UserError(
                f"{view.name}: {split} has the label {label!r}, which train never shows; train has: "
                f"{', '.join(sorted(known))}"
            )
