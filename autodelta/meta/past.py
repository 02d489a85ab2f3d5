"""What a fitted model has learned from, in a file beside it; and where the model that ships with the package lies.

A model's folder holds ``meta.safetensors`` and ``meta.json`` (``autodelta.meta.saved``), ``past.json`` (here) and the
recorded tables themselves, in ``records/``, so that a later fit loses nothing. This module loads no torch.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from autodelta.errors import UserError, first_problem, one_line
from autodelta.files import write_json
from autodelta.frozen import Frozen
from autodelta.meta.problem import NoTransfer
from autodelta.meta.records import ABOUT, Record, Table, TaskFeatures

VERSION = 1
FILE, RECORDS, MODEL = "past.json", "records", "meta.json"
BUNDLED = Path(__file__).parent / "bundled"


class Backbone(Frozen):
    """A T5 that trials were recorded on."""

    name: str
    sha256: str


class Winner(Frozen):
    """The best trial of a task, on validation."""

    methods: tuple[str, ...]
    parameters: int
    score: float


class PastTask(Frozen):
    """A recorded task: what is known of it, and what came out."""

    task: str
    kind: str
    metric: str
    train_rows: int
    trials: int
    best: Winner | None
    features: dict[str, float]


class Past(Frozen):
    """All that a model has learned from, in short."""

    format: Literal["autodelta.past"] = "autodelta.past"
    version: int = VERSION
    trials: int
    methods: tuple[str, ...]  # that any trial with a score had
    backbones: tuple[Backbone, ...]
    tasks: tuple[PastTask, ...]

    def check(self, methods: Iterable[str], *, backbone_sha256: str | None = None) -> None:
        """Raises NoTransfer where the records say nothing of a method or, if one is given, of the backbone."""
        unknown = [name for name in methods if name not in self.methods]
        if unknown:
            raise NoTransfer(f"the records are of another space: they have no scored trial of {unknown[0]!r}")
        if backbone_sha256 is not None and backbone_sha256 not in {found.sha256 for found in self.backbones}:
            names = ", ".join(sorted({repr(found.name) for found in self.backbones}))
            raise NoTransfer(f"the records are of another backbone: {names}")


def past_of(tables: Iterable[Table]) -> Past:
    """What these tables hold, in short."""
    tables = list(tables)
    records = [record for table in tables for record in table.records]
    abouts = [table.about for table in tables if table.about is not None]
    backbones = {(about.backbone, about.backbone_sha256) for about in abouts}
    return Past(
        trials=len(records),
        methods=tuple(sorted({name for record in records if record.teaches for name in record.candidate.methods})),
        backbones=tuple(Backbone(name=name, sha256=sha256) for name, sha256 in sorted(backbones)),
        tasks=tuple(_tasks(tables)),
    )


def _tasks(tables: Iterable[Table]) -> Iterable[PastTask]:
    """Each task once, though its trials on one backbone may lie in several tables."""
    found: dict[tuple[str, str, int], list[Record]] = {}
    features: dict[tuple[str, str, int], TaskFeatures] = {}
    for table in tables:
        for record in table.records:
            place = (record.backbone_sha256, record.task, record.train_rows)
            found.setdefault(place, []).append(record)
            if record.task in table.tasks:
                features.setdefault(place, table.tasks[record.task])
    for place, records in found.items():
        known = features.get(place)
        yield PastTask(
            task=records[0].task,
            kind=known.kind if known else "",
            metric=known.metric if known else "",
            train_rows=records[0].train_rows,
            trials=len(records),
            best=_winner(records),
            features=known.features if known else {},
        )


def _winner(records: Sequence[Record]) -> Winner | None:
    scored = [(record.score, record) for record in records if record.state == "complete" and record.score is not None]
    if not scored:
        return None
    score, best = max(scored, key=lambda pair: (pair[0], -pair[1].parameters))
    return Winner(methods=best.candidate.methods, parameters=best.parameters, score=score)


def write(past: Past, folder: Path) -> None:
    """Writes it beside a model."""
    write_json(folder / FILE, past.model_dump(mode="json"))


def read(folder: Path) -> Past | None:
    """What the model in a folder has learned from; None where the folder does not say.

    Raises:
        UserError: the file is broken, or of a version that this one does not read.
    """
    path = folder / FILE
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: no readable JSON: {one_line(error)}") from error
    if isinstance(data, dict) and data.get("version") != VERSION:
        raise UserError(f"{path}: of version {data.get('version')!r}; this version reads {VERSION}")
    try:
        return Past.model_validate(data)
    except ValidationError as error:
        raise UserError(f"{path}: {first_problem(error)}") from error


def bundled() -> Path | None:
    """The folder of the model that ships with the package; None where none does."""
    return BUNDLED if (BUNDLED / MODEL).is_file() else None


def recorded(folder: Path) -> list[Path]:
    """The tables that a model's folder keeps."""
    return sorted(path.parent for path in (folder / RECORDS).glob(f"*/{ABOUT}"))
