"""Tasks in files: a folder with task.json and a table for each split (train and test at least)."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator

from autodelta.errors import UserError, first_problem, one_of
from autodelta.frozen import Frozen
from autodelta.tasks.tables import READERS, Record, find_table, first_line, records, table_suffix
from autodelta.tasks.task import SPLITS, Row, Task, assemble
from autodelta.tasks.view import View, check_label_hidden, default_metric, default_template, default_words, text_of

CARD = "task.json"
LABEL = "label"  # the column of a row's label


class Card(Frozen):
    """What task.json says. `template` and `words` replace the view that is made from inputs and labels; without labels
    the task is open-ended, and the column `label` holds each row's answer, a text; rows of equal `group` field stay
    together where validation is carved out of train; `rows` and `note` are for people."""

    name: str
    kind: str = ""
    labels: tuple[str, ...] = ()
    inputs: tuple[str, ...] = Field(min_length=1)
    label: str = LABEL
    metric: str | None = None  # None: accuracy, or exact_match of answers
    max_new_tokens: int = Field(default=View.model_fields["max_new_tokens"].default, ge=1, le=512)
    template: str | None = None
    words: dict[str, str] | None = None
    group: str | None = None
    source: str = ""
    licence: str = ""
    rows: dict[str, int] = Field(default_factory=dict)
    note: str = ""

    @field_validator("labels", mode="before")
    @classmethod
    def _labels_as_text(cls, labels: Any) -> Any:
        """Labels may be written as numbers or booleans, as in the rows."""
        return [text_of(label) or label for label in labels] if isinstance(labels, list) else labels

    def view(self, name: str) -> View:
        """The view under the name by which the task was asked for; the template shows the card's own name."""
        check_label_hidden(self.label, self.inputs)
        if self.group is not None and self.group not in self.inputs:
            raise one_of("group field", self.group, self.inputs)
        return View(
            name=name,
            inputs=self.inputs,
            template=self.template or default_template(self.name, self.inputs),
            labels=self.labels,
            words=self.words or default_words(self.labels),
            metric=self.metric or default_metric(self.labels),
            max_new_tokens=self.max_new_tokens,
        )


def read_card(folder: Path) -> Card:
    """What a folder's task.json says.

    Raises:
        UserError: it is missing, no JSON, or says something that no task can mean.
    """
    where = f"{folder.name}/{CARD}"
    try:
        return Card.model_validate(json.loads((folder / CARD).read_text(encoding="utf-8-sig")))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{where} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    except json.JSONDecodeError as error:
        raise UserError(f"{where}:{error.lineno}: not JSON: {error.msg} at column {error.colno}") from None
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "extra_forbidden":
            raise UserError(f"{where}: {one_of('key', str(first['loc'][0]), Card.model_fields)}") from None
        raise UserError(f"{where}: {first_problem(error)}") from None
    except (ValueError, RecursionError) as error:  # a number of too many digits, brackets too deep
        raise UserError(f"{where}: cannot be read: {first_line(error)}") from None


def read_view(folder: Path) -> tuple[Card, View]:
    """What a folder's task.json says, and how its rows are seen.

    Raises:
        UserError: as ``read_card``; or it makes no view, as with a metric that there is not.
    """
    card = read_card(folder)
    try:
        return card, card.view(folder.name)
    except ValidationError as error:
        raise UserError(f"{folder.name}/{CARD}: {first_problem(error)}") from None
    except UserError as error:
        raise UserError(f"{folder.name}/{CARD}: {error}") from None


def folders(data: Path | None) -> dict[str, Path]:
    """The tasks in a folder of folders, by name.

    Raises:
        UserError: there is no such folder, or it is itself a task.
    """
    if data is None:
        return {}
    if not data.is_dir():
        raise UserError(f"there is no data folder {str(data)!r}; name a folder that holds one folder for each task")
    if (data / CARD).is_file():
        raise UserError(f"{str(data)!r} is itself a task; name the folder that holds it, and ask for {data.name!r}")
    return {path.parent.name: path.parent for path in sorted(data.glob(f"*/{CARD}"))}


def load_folder(folder: Path) -> Task:
    """The task in a folder with its rows.

    Raises:
        UserError: a file is missing or broken, a row lacks a field or has an unknown label, or a split is empty.
    """
    card, view = read_view(folder)
    tables = {split: find_table(folder, split) for split in SPLITS}
    for split in ("train", "test"):
        if tables[split] is None:
            files = ", ".join(f"{split}{suffix}" for suffix in READERS)
            raise UserError(f"{folder.name} has no {split} file in {str(folder)!r}; put there one of: {files}")
    return assemble(
        view,
        {split: _rows(view, path, card.label) for split, path in tables.items() if path is not None},
        group=card.group,
        kind=card.kind,
        source=card.source,
        licence=card.licence,
        notes=_unread(folder),
    )


def _unread(folder: Path) -> list[str]:
    """What to say of tables that are no split by their name, as dev.csv: nobody would notice that they are missing."""
    tables = {path.name: table_suffix(path) for path in sorted(folder.iterdir()) if path.is_file()}
    others = [name for name, suffix in tables.items() if suffix and name.removesuffix(suffix) not in SPLITS]
    return [f"not read: {', '.join(others)}; splits are files called {', '.join(SPLITS)}"] if others else []


def inputs_of(view: View, path: Path) -> list[str]:
    """The input text of each row of a file of any name; other columns than the view's inputs do not matter.

    Raises:
        UserError: the file cannot be read or has no rows, or a row lacks an input.
    """
    if not table_suffix(path):
        raise UserError(f"rows are read from files that end in {', '.join(READERS)}, not {path.name!r}")
    found = [view.render(_texts(where, record, view.inputs)) for where, record in records(path)]
    if not found:
        raise UserError(f"{str(path)!r} has no rows")
    return found


def _rows(view: View, path: Path, column: str) -> list[Row]:
    found = []
    for where, record in records(path):
        *fields, label = _texts(where, record, (*view.inputs, column))
        try:
            found.append(Row(tuple(fields), view.label_of(label)))
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
    return found


def _texts(where: str, record: Record, columns: Sequence[str]) -> list[str]:
    """What a row has in these columns, as text."""
    found = []
    for column in columns:
        if column not in record:
            raise UserError(f"{where}: the column {column!r} is missing; there are: {', '.join(map(str, record))}")
        text = text_of(record[column])
        if text is None:
            raise UserError(f"{where}: the column {column!r} must hold a text or a number, not {record[column]!r}")
        found.append(text)
    return found
