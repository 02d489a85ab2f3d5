"""Records: finished trials with their learning curves, and the table that holds them with their tasks' features.

A table is a folder: ``records-*.parquet`` (shards, written once), ``tasks.parquet``, ``table.json`` (backbone, space)
and, while it is being collected, ``journal.jsonl`` with the records that no shard has yet. No text of a task is in it.
Why it is so: docs/decisions/0013-recorded-tables.md.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field, ValidationError

from autodelta.candidate import Candidate
from autodelta.errors import UserError, first_problem, one_line
from autodelta.files import Lines, write_json
from autodelta.frozen import Frozen
from autodelta.meta import parquet
from autodelta.meta.columns import RECORDS, TASKS, VERSION
from autodelta.shape import BackboneShape

SHARDS = "records-*.parquet"
TASKS_FILE, ABOUT, JOURNAL = "tasks.parquet", "table.json", "journal.jsonl"

State = Literal["complete", "pruned", "failed", "infeasible"]
Key = tuple[str, str, int]  # task, candidate's key, repeat


class _Finite(Frozen):
    model_config = ConfigDict(allow_inf_nan=False)


class Point(_Finite):
    """One evaluation on validation: a trial's learning curve is made of these."""

    step: int = Field(gt=0)
    score: float  # the task's metric
    log_loss: float | None = None  # of the right label among all labels, nats a row
    train_loss: float  # mean since the point before, nats a target token
    device_seconds: float  # since the trial's start, evaluations included


class Record(_Finite):
    """One trial that has ended, and what it cost."""

    task: str  # as `task_key` writes it: the name, with the rows where train was cut
    train_rows: int = Field(gt=0)
    backbone: str
    backbone_sha256: str
    dtype: str
    device: str
    candidate: Candidate
    parameters: int
    repeat: int = Field(ge=0)  # 0: the first seed
    seed: int
    state: State
    reason: str = ""
    curve: tuple[Point, ...] = ()  # on validation
    test: float | None = None  # at the end; never to be chosen by
    device_seconds: float = 0.0  # training and validation
    evaluation_seconds: float = 0.0  # the part of it that was validation
    memory_bytes: int | None = None  # the most that was held at once
    versions: dict[str, str] = Field(default_factory=dict)

    @property
    def score(self) -> float | None:
        """The last score on validation."""
        return self.curve[-1].score if self.curve else None

    @property
    def teaches(self) -> bool:
        """Whether it has a score to learn from, as trials have that neither failed nor did not fit."""
        return bool(self.curve) and self.state in ("complete", "pruned")

    @cached_property
    def key(self) -> Key:
        """What no two records of a table share."""
        return self.task, self.candidate.key, self.repeat


class TaskFeatures(_Finite):
    """What is known of a task before any trial; ``features`` are those of ``meta.features``, by name."""

    task: str
    kind: str
    metric: str
    train_rows: int
    version: int  # of the list of features
    features: dict[str, float]
    embedding: tuple[float, ...] = ()  # mean of the frozen encoder's vectors over a sample of train


class About(_Finite):
    """What all records of a table have in common."""

    schema_version: int = VERSION
    backbone: str
    backbone_sha256: str
    dtype: str
    shape: BackboneShape
    space: str
    space_text: str  # the YAML
    seed: int
    curve: tuple[int, ...]  # the steps at which every trial was evaluated, besides its last one


@dataclass(frozen=True)
class Table:
    """Recorded trials with what is known of their tasks."""

    records: tuple[Record, ...]
    tasks: Mapping[str, TaskFeatures]
    about: About | None = None

    @cached_property
    def by_key(self) -> dict[Key, Record]:
        """Every record by task, candidate's key and repeat."""
        return {record.key: record for record in self.records}

    def of(self, task: str) -> tuple[Record, ...]:
        """The records of one task."""
        return tuple(record for record in self.records if record.task == task)


def task_key(name: str, train_rows: int | None) -> str:
    """How a table names a task: one of several sizes is a task of its own."""
    return name if train_rows is None else f"{name}@{train_rows}"


# --- reading ---------------------------------------------------------------------------------------------------------


def read(folder: Path) -> Table:
    """The table in a folder, also one that is still being collected; each trial once.

    Raises:
        UserError: there is no record, or a file is broken, of an unknown schema, or lacks something.
    """
    if not folder.is_dir():
        raise UserError(f"no table in {str(folder)!r}: there is no such folder")
    found = {record.key: record for record in (*read_shards(folder), *read_journal(folder))}
    if not found:
        raise UserError(f"no table in {str(folder)!r}: it has no record, neither {SHARDS} nor {JOURNAL}")
    return Table(records=tuple(found.values()), tasks=read_tasks(folder), about=read_about(folder))


def read_shards(folder: Path) -> list[Record]:
    """The records of all shards.

    Raises:
        UserError: as ``read``.
    """
    candidates: dict[str, Candidate] = {}  # the same ones recur on every task
    records = []
    for path in sorted(folder.glob(SHARDS)):
        for number, row in enumerate(parquet.load(path, RECORDS, kind="records", version=VERSION)):
            try:
                records.append(_record(row, candidates))
            except (ValueError, TypeError) as error:
                raise _fault(f"{path}: row {number}", error) from error
    return records


def read_journal(folder: Path) -> list[Record]:
    """The records that are in no shard yet; a last line torn by a crash is passed over.

    Raises:
        UserError: a whole line is no record.
    """
    records = []
    for number, row in enumerate(Lines(folder / JOURNAL).read()):
        try:
            records.append(Record.model_validate(row))
        except ValueError as error:
            raise _fault(f"{folder / JOURNAL}: record {number}", error) from error
    return records


def read_tasks(folder: Path) -> dict[str, TaskFeatures]:
    """The tasks of a table by name; none where the folder has no file of them.

    Raises:
        UserError: as ``read``.
    """
    path = folder / TASKS_FILE
    if not path.exists():
        return {}
    found = {}
    for number, row in enumerate(parquet.load(path, TASKS, kind="tasks", version=VERSION)):
        try:
            found[row["task"]] = TaskFeatures.model_validate({**row, "features": dict(row["features"])})
        except (ValueError, TypeError) as error:
            raise _fault(f"{path}: row {number}", error) from error
    return found


def read_about(folder: Path) -> About | None:
    """What the table's records have in common; None where the folder does not say.

    Raises:
        UserError: the file is broken, or of an unknown schema.
    """
    path = folder / ABOUT
    if not path.exists():
        return None
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise UserError(f"{path}: no readable JSON: {one_line(error)}") from error
    if isinstance(data, dict) and data.get("schema_version") != VERSION:
        found = data.get("schema_version")
        raise UserError(f"{path}: a table of schema {found!r}; this version reads schema {VERSION}")
    try:
        return About.model_validate(data)
    except ValidationError as error:
        raise _fault(str(path), error) from error


def _fault(where: str, error: Exception) -> UserError:
    said = first_problem(error) if isinstance(error, ValidationError) else one_line(error)
    return UserError(f"{where}: {said}")


# --- writing ---------------------------------------------------------------------------------------------------------


def write_table(folder: Path, table: Table) -> Path:
    """Writes a whole table into a folder that has none yet, and returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_shard(folder, table.records)
    if table.tasks:
        write_tasks(folder, table.tasks.values())
    if table.about is not None:
        write_about(folder, table.about)
    return folder


def write_shard(folder: Path, records: Sequence[Record]) -> Path:
    """Writes records into a new shard, and returns its path. The file is whole, or it is not there."""
    names = [path.stem.rpartition("-")[2] for path in folder.glob(SHARDS)]
    numbers = [int(name) for name in names if name.isdecimal()]  # a user's copy of a shard may be called anything
    path = folder / SHARDS.replace("*", f"{max(numbers, default=-1) + 1:05d}")
    parquet.write(path, [_row(record) for record in records], RECORDS, kind="records", version=VERSION)
    return path


def write_tasks(folder: Path, tasks: Iterable[TaskFeatures]) -> None:
    """Writes what is known of the tasks, all of them."""
    rows = [{**task.model_dump(), "features": list(task.features.items())} for task in tasks]
    parquet.write(folder / TASKS_FILE, rows, TASKS, kind="tasks", version=VERSION)


def write_about(folder: Path, about: About) -> None:
    """Writes what all records have in common."""
    write_json(folder / ABOUT, about.model_dump(mode="json"))


def _row(record: Record) -> dict[str, Any]:
    return {
        **record.model_dump(exclude={"candidate", "versions"}),
        "candidate": record.candidate.model_dump_json(),
        "versions": json.dumps(record.versions, sort_keys=True),
    }


def _record(row: dict[str, Any], candidates: dict[str, Candidate]) -> Record:
    text = row["candidate"]
    if text not in candidates:
        candidates[text] = Candidate.model_validate_json(text)
    return Record.model_validate({**row, "candidate": candidates[text], "versions": json.loads(row["versions"])})
