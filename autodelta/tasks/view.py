"""A view: how a task's rows become text in, text out, and how answers are scored; what a recipe keeps of a task."""

import math
import re
from collections.abc import Sequence
from string import Formatter
from typing import Any, Self

from pydantic import Field, model_validator

from autodelta.errors import UserError, one_of
from autodelta.frozen import Frozen
from autodelta.tasks import metrics

SURROGATE = re.compile("[\ud800-\udfff]")
SYNTAX = "{}:!"  # what ends a field's name in a template
LONG_FIELDS = ("passage", "context", "paragraph", "document", "article")


class View(Frozen):
    """The text-to-text view of a task.

    template holds each field as `{field}`; words has, for each label, the text that the model is to write. Without
    labels the task is open-ended: every row has an answer of its own, and the model writes one, of max_new_tokens at
    most.
    """

    name: str
    inputs: tuple[str, ...] = Field(min_length=1)
    template: str
    labels: tuple[str, ...] = ()
    words: dict[str, str] = Field(default_factory=dict)
    metric: str
    max_new_tokens: int = Field(default=32, ge=1, le=512)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        metrics.check_metric(self.metric, texts=self.open_ended)
        if len(self.labels) == 1:
            raise UserError(f"a task has two labels at least, or none where answers are free texts: {self.labels[0]!r}")
        for kind, values in (("input", self.inputs), ("label", self.labels), ("word", tuple(self.words.values()))):
            if len(set(values)) < len(values) or not all(value.strip() for value in values):
                raise UserError(f"{kind}s must be distinct and not empty: {', '.join(map(repr, values))}")
        if set(self.words) != set(self.labels):
            wrong = min(set(self.words) ^ set(self.labels))
            fault = one_of("label in words", wrong, self.labels) if wrong in self.words else f"no word for {wrong!r}"
            raise UserError(str(fault))
        for field in self.inputs:
            if set(field) & set(SYNTAX):
                raise UserError(
                    f"an input's name must hold none of {SYNTAX}, which templates use: {field!r}; rename it"
                )
        _check_template(self.template, self.inputs)
        if self.ordinal:
            _check_numbers(self.metric, self.labels)
        return self

    @property
    def open_ended(self) -> bool:
        """Whether answers are free texts, and not one of some labels."""
        return not self.labels

    @property
    def ordinal(self) -> bool:
        """Whether the labels are numbers, so that near misses count."""
        return self.metric in metrics.ORDINAL

    def render(self, fields: Sequence[str]) -> str:
        """The input text of one row; its fields stand in the order of `inputs`."""
        values = dict(zip(self.inputs, fields, strict=True))
        pieces = Formatter().parse(self.template)
        return "".join(literal + ("" if name is None else values[name]) for literal, name, _, _ in pieces)

    def word(self, label: str) -> str:
        """The text that the model is to write for a label; an answer itself."""
        return label if self.open_ended else self.words[label]

    def stratum(self, label: str) -> str:
        """Of which rows each part of a split shall have its share: a class; answers make none."""
        return "" if self.open_ended else label

    def label_of(self, value: str) -> str:
        """The label that a value of the label column means; for ordinal labels the nearest number; an answer, with
        single spaces.

        Raises:
            UserError: there is no such label, or the answer is empty.
        """
        if self.open_ended:
            if not value.split():
                raise UserError("an answer is empty; leave such rows out")
            return " ".join(value.split())
        if value in self.words:
            return value
        if self.ordinal:
            numbers = {label: float(label) for label in self.labels}
            try:
                number = float(value)
            except ValueError:
                number = float("nan")
            if min(numbers.values()) <= number <= max(numbers.values()):
                return min(numbers, key=lambda label: abs(numbers[label] - number))
        raise one_of("label", value, self.labels)

    def score(self, gold: Sequence[str], predicted: Sequence[str]) -> float:
        """The task's metric over labels (not words) or answers; higher is better."""
        return metrics.score(self.metric, gold, predicted)


def _check_template(template: str, inputs: tuple[str, ...]) -> None:
    try:
        pieces = [piece for piece in Formatter().parse(template) if piece[1] is not None]
    except ValueError as error:
        raise UserError(f"the template {template!r} is not well formed: {error}") from None
    if not pieces:
        raise UserError(f"the template {template!r} shows no field; write one as {{{inputs[0]}}}")
    for _, name, spec, conversion in pieces:
        if name not in inputs:
            raise one_of("field in the template", name or "", inputs)
        if spec or conversion:
            raise UserError(f"the template's field {name!r} must stand alone, as {{{name}}}")


def _check_numbers(metric: str, labels: tuple[str, ...]) -> None:
    known: dict[float, str] = {}
    for label in labels:
        try:
            number = float(label)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise UserError(f"{metric} needs labels that are numbers, not {label!r}")
        if number in known:
            raise UserError(f"{metric} needs labels that are different numbers, not {known[number]!r} and {label!r}")
        known[number] = label


def check_label_hidden(label: str, inputs: Sequence[str]) -> None:
    """Raises UserError where the label's column is an input, so that the model would read what it is to write."""
    if label in inputs:
        others = ", ".join(name for name in inputs if name != label) or "another column"
        raise UserError(
            f"the label column {label!r} cannot be an input, as it is the answer; inputs could be: {others}"
        )


def default_template(name: str, inputs: Sequence[str]) -> str:
    """T5's style: the task's name, then each field after its name. Long fields go last: an input is cut at its end."""
    ordered = sorted(inputs, key=lambda field: field in LONG_FIELDS)
    prefix = name.replace("_", " ").replace("{", "{{").replace("}", "}}")
    return " ".join([prefix, *(f"{field}: {{{field}}}" for field in ordered)])


def default_metric(labels: Sequence[str]) -> str:
    """The metric of a task that names none."""
    return "accuracy" if labels else "exact_match"


def default_words(labels: Sequence[str]) -> dict[str, str]:
    """Label words: the labels with spaces for underscores.

    Where the labels name the fields with the choices (choice1, choice2, ...), the word is the choice's number: one
    short word for each class, which the template shows beside the choice.
    """
    numbers = [re.fullmatch(r"choice(\d+)", label) for label in labels]
    return {
        label: number.group(1) if number and all(numbers) else " ".join(label.replace("_", " ").split())
        for label, number in zip(labels, numbers, strict=True)
    }


def text_of(value: Any) -> str | None:
    """A value of a table as text, as JSON would write it; None where it is missing (a NaN, too), no plain value, or a
    text with half a character: JSON can hold one half of a surrogate pair, which no tokenizer and no file takes."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str) and not value.isascii() and SURROGATE.search(value):
        return None
    return str(value) if isinstance(value, (str, int, float)) else None
