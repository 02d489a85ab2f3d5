"""Tasks from Hugging Face data sets: the known ones (GLUE, SuperGLUE) and any other by its columns."""

import re
from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from autodelta.errors import UserError, first_problem, one_of
from autodelta.frozen import Frozen
from autodelta.tasks import metrics
from autodelta.tasks.columns import Columns
from autodelta.tasks.hub import Reading, Splits, open_splits
from autodelta.tasks.task import Row, Task, assemble
from autodelta.tasks.view import View, check_label_hidden, default_template, default_words, text_of

Record = dict[str, Any]
VALIDATION_NAMES = ("validation", "dev", "valid", "val")


class Published(Frozen):
    """A known data set as a task. `test` is the official dev split, because the labels of the official test split are
    not public; validation is carved out of train, rows of equal `group` field together."""

    dataset: str
    config: str
    view: View
    kind: str
    licence: str
    note: str = ""
    test: str = "validation"
    group: str | None = None
    columns: tuple[str, ...] = ()  # what `convert` reads, where it is not the view's inputs and `label`
    convert: Callable[[Record], Iterable[Record]] | None = None  # one record -> rows with the view's inputs and `label`


def load_published(task: Published, data: Path | None) -> Task:
    """A known task with its rows.

    Raises:
        UserError: the data set cannot be had, lacks a split or a column, or shows a label that it should not have.
    """
    view = task.view
    splits = open_splits(view.name, [(task.dataset, task.config)], data)
    notes = [task.note] if task.note else []
    rows = {}
    for ours, theirs in {"train": "train", "test": task.test}.items():
        records = _records(view.name, splits, theirs, task.columns or (*view.inputs, "label"))
        if task.convert is not None:
            records = [row for record in records for row in task.convert(record)]
        classes = _class_names(splits[theirs], "label")
        order = _order(view, "label", records, names=classes or view.labels, counted=bool(classes))
        rows[ours] = _rows(view, theirs, records, "label", order, notes)
    source = f"{task.dataset} ({task.config})"
    return assemble(view, rows, group=task.group, kind=task.kind, source=source, licence=task.licence, notes=notes)


def load_columns(name: str, columns: Columns | None, data: Path | None) -> Task:
    """The task that some columns of any data set make; `name` is `hf:dataset` or `hf:dataset/config`.

    Raises:
        UserError: the data set cannot be had, or has no such split, column or label.
    """
    if columns is not None:
        check_label_hidden(columns.label, columns.inputs)
    splits = open_splits(name, _readings(name), data)
    if columns is None:
        found = ", ".join(sorted({column for split in splits.values() for column in split.column_names}))
        raise UserError(f"task {name!r}: say which columns are inputs and which is the label; there are: {found}")
    wanted = (*columns.inputs, columns.label)
    train = _records(name, splits, columns.train, wanted)
    chosen = _chosen(name, columns, splits)
    records = {"train": train, **{ours: _records(name, splits, theirs, wanted) for ours, theirs in chosen.items()}}
    open_ended = columns.metric in metrics.TEXTS and not columns.labels
    classes = () if open_ended else _class_names(splits[columns.train], columns.label)
    names = columns.labels or classes
    view = _view(name, columns, () if open_ended else names or _labels_shown(name, columns.label, train))
    counts = classes if set(classes) == set(names) else names  # in the data set's own order
    order = _order(view, columns.label, chain(*records.values()), names=counts, counted=bool(classes))
    shown = {record[columns.label] for record in train if isinstance(record[columns.label], int)}
    if order and -1 in shown and len(shown) <= len(order) and not classes:
        raise UserError(
            f"task {name!r}: the column {columns.label!r} holds {', '.join(map(str, sorted(shown)))} for {len(order)} "
            "labels; if -1 is one of them, name them as they stand there, else clear the rows with -1"
        )
    notes = [f"test is the split {chosen['test']!r}"] if chosen["test"] != "test" else []
    rows = {
        ours: _rows(view, chosen.get(ours, columns.train), found, columns.label, order, notes)
        for ours, found in records.items()
    }
    return assemble(view, rows, group=columns.group, source=name, notes=notes)


def _view(name: str, columns: Columns, labels: tuple[str, ...]) -> View:
    if columns.group is not None and columns.group not in columns.inputs:
        raise one_of("group column", columns.group, columns.inputs)
    try:
        return View(
            name=name,
            inputs=columns.inputs,
            template=columns.template or default_template(re.split("[:/]", name)[-1], columns.inputs),
            labels=labels,
            words=columns.words or default_words(labels),
            metric=columns.metric,
            max_new_tokens=columns.max_new_tokens,
        )
    except ValidationError as error:
        raise UserError(f"task {name!r}: {first_problem(error)}") from None


def _readings(name: str) -> list[Reading]:
    """What `hf:...` may mean: `owner/name/config` one thing, `a/b` an owner's data set or a data set's config."""
    parts = name.removeprefix("hf:").split("/")
    if not all(parts) or len(parts) > 3:
        raise UserError(f"{name!r} names no data set; write hf:dataset, hf:dataset/config or hf:owner/dataset/config")
    if len(parts) == 3:
        return [("/".join(parts[:2]), parts[2])]
    return [(parts[0], None)] if len(parts) == 1 else [("/".join(parts), None), (parts[0], parts[1])]


def _chosen(name: str, columns: Columns, splits: Splits) -> dict[str, str]:
    """Our test and validation -> theirs. A test split without labels is none; then the validation split is test."""
    for asked in filter(None, (columns.validation, columns.test)):
        if asked not in splits:
            raise UserError(f"task {name!r}: {one_of('split', asked, splits)}")
        if asked == columns.train:
            raise UserError(f"task {name!r}: the split {asked!r} is train already")
    if columns.test is not None and columns.test == columns.validation:
        raise UserError(f"task {name!r}: the split {columns.test!r} cannot be validation and test both")
    left = {split: rows for split, rows in splits.items() if split != columns.train}
    validation = columns.validation or next((split for split in VALIDATION_NAMES if split in left), None)
    test = columns.test or ("test" if "test" in left and _has_labels(left["test"], columns.label) else None)
    if test is None:
        if validation is None or columns.validation is not None:
            raise UserError(f"task {name!r}: no test split with labels; name one of: {', '.join(splits)}")
        test, validation = validation, None
    return {"test": test} if validation in (None, test) else {"test": test, "validation": str(validation)}


def _has_labels(split: Any, column: str) -> bool:
    return column in split.column_names and any(not _hidden(value) for value in split[:][column])


def _hidden(value: Any) -> bool:
    """Whether a label is missing, or stands for one that is not public: the hub writes -1."""
    return value is None or value == "" or value != value or (not isinstance(value, (str, bool)) and value == -1)


def _is_label(view: View, value: Any) -> bool:
    """Whether -1 is a label after all: one by name, or a number between those that are labels."""
    try:
        view.label_of(text_of(value) or "")
    except UserError:
        return False
    return True


def _class_names(split: Any, column: str) -> tuple[str, ...]:
    return tuple(getattr(split.features.get(column), "names", None) or ())


def _labels_shown(name: str, column: str, records: list[Record]) -> tuple[str, ...]:
    values = [record[column] for record in records if not _hidden(record[column])]
    if not all(isinstance(value, (str, int)) for value in values):
        raise UserError(f"task {name!r}: the column {column!r} holds no classes; name its labels")
    if values and any(record[column] == -1 for record in records):
        raise UserError(
            f"task {name!r}: -1 in the column {column!r} may be a class or a hidden label; name its labels, -1 too if "
            "it is one"
        )
    ordered = sorted(set(values), key=lambda value: (isinstance(value, str), value))
    return tuple(str(text_of(value)) for value in ordered)


def _records(name: str, splits: Splits, split: str, columns: tuple[str, ...]) -> list[Record]:
    if split not in splits:
        raise UserError(f"task {name!r}: {one_of('split', split, splits)}")
    for column in columns:
        if column not in splits[split].column_names:
            raise UserError(f"task {name!r}: {one_of('column', column, splits[split].column_names)}")
    table = splits[split].select_columns(list(columns))[:]
    return [dict(zip(columns, values, strict=True)) for values in zip(*(table[key] for key in columns), strict=True)]


def _order(
    view: View, column: str, records: Iterable[Record], *, names: tuple[str, ...], counted: bool
) -> tuple[str, ...]:
    """The labels as a column's integers count them from 0 on; none where its integers are labels themselves.

    That is said of all rows at once: where 1 to 5 are the names of 0 to 4, a 1 is not the label that it looks like.
    counted: the data set itself says that it counts classes.
    """
    shown = {text_of(record[column]) for record in records if isinstance(record[column], int)} - {"-1"}
    if not names or not (counted or (shown - set(view.labels) and not view.ordinal)):
        return ()
    return names if set(names) == set(view.labels) else view.labels


def _rows(
    view: View, split: str, records: list[Record], column: str, order: tuple[str, ...], notes: list[str]
) -> list[Row]:
    found = []
    for number, record in enumerate(records, 1):
        if _hidden(record[column]) and (order or not _is_label(view, record[column])):
            continue
        texts = [text_of(record[field]) for field in view.inputs]
        if None in texts:
            field = view.inputs[texts.index(None)]
            raise UserError(f"{view.name}: {split} row {number}: the column {field!r} must hold a text or a number")
        try:
            label = _label(view, record[column], order)
        except UserError as error:
            raise UserError(f"{view.name}: {split} row {number}: {error}") from None
        found.append(Row(tuple(map(str, texts)), label))
    if records and not found:
        raise UserError(f"{view.name}: the labels of the split {split!r} are not public; name another as test")
    if len(found) < len(records):
        notes.append(f"{len(records) - len(found)} rows of {split} have no label and were dropped")
    return found


def _label(view: View, value: Any, order: tuple[str, ...]) -> str:
    """A label column's value as a label: an integer by the order, if there is one."""
    if order and isinstance(value, int):
        if not 0 <= value < len(order):
            raise UserError(f"unknown label '{value}'; labels are counted from 0 on: {', '.join(order)}")
        return order[value]
    text = text_of(value)
    if text is None:
        raise UserError(f"a label must be a text or a number, not {value!r}")
    return view.label_of(text)
