"""The trials of a user's own searches as recorded tables, so that the meta-learner learns from them, too."""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from autodelta.errors import UserError
from autodelta.meta.features import VERSION
from autodelta.meta.records import About, Point, Record, Table, TaskFeatures, task_key
from autodelta.search.knowledge import known
from autodelta.search.records import TrialRecord, carried_on
from autodelta.search.run import RUN_FILE, Run, open_run
from autodelta.search.settings import Settings

LIBRARIES = ("autodelta", "torch", "transformers")


class _Group(NamedTuple):
    """What all records of one table have in common."""

    backbone_sha256: str
    dtype: str
    space: str


def tables_of_runs(runs: Path, *, say: Callable[[str], None] = print) -> list[Table]:
    """Every trial of the runs in a folder that came to a score: a table for each backbone and space.

    Args:
        runs: a folder of runs and size studies, or one of them.
        say: is told, in a line, of each run that teaches nothing, and why.

    Raises:
        UserError: there is no run, or none with a scored trial.
    """
    folders = sorted({path.parent for pattern in ("", "*/", "*/*/") for path in runs.glob(f"{pattern}{RUN_FILE}")})
    if not folders:
        raise UserError(f"there is no run in {str(runs)!r} to learn from")
    collected = _Collected()
    for folder in folders:
        try:
            collected.add(open_run(folder))
        except UserError as error:
            say(f"left out: {folder}: {error}")
    found = collected.tables()
    if not found:
        raise UserError(f"no run in {str(runs)!r} has a trial with a score to learn from")
    return found


class _Collected:
    """Records of runs under way to tables: each trial once, tasks of other rows apart."""

    def __init__(self) -> None:
        self._records: dict[_Group, list[Record]] = {}
        self._abouts: dict[_Group, About] = {}
        self._tasks: dict[_Group, dict[str, TaskFeatures]] = {}
        self._names: dict[tuple[_Group, str], str] = {}  # of a task, by the fingerprint of its rows
        self._repeats: Counter[tuple[_Group, str, str]] = Counter()

    def add(self, run: Run) -> None:
        """Takes in one run.

        Raises:
            UserError: it cannot be read, has nothing to teach, or its task's features cannot be had.
        """
        settings = run.settings
        trials = _teaching(run.trials)
        if not trials:
            raise UserError("no trial has a score")
        group = _Group(settings.backbone_sha256, settings.worker.dtype or "fp32", settings.space)
        name = self._name(group, settings)
        if name not in self._tasks.setdefault(group, {}):
            self._tasks[group][name] = described(settings, name)
        self._abouts.setdefault(group, _about(settings))
        versions = _versions(run)
        for trial in trials:
            assert trial.candidate is not None
            place = (group, name, trial.candidate.key)
            found = _record(settings, trial, name, repeat=self._repeats[place], versions=versions)
            self._repeats[place] += 1
            self._records.setdefault(group, []).append(found)

    def tables(self) -> list[Table]:
        """What has come together."""
        return [
            Table(records=tuple(records), tasks=self._tasks[group], about=self._abouts[group])
            for group, records in self._records.items()
        ]

    def _name(self, group: _Group, settings: Settings) -> str:
        """A task's name in the table; one of the same name with other rows gets its fingerprint's start behind it."""
        name = task_key(settings.task, settings.worker.train_rows)
        taken = {
            known for (other, mark), known in self._names.items() if other == group and mark != settings.fingerprint
        }
        own = f"{name}@{settings.fingerprint[:6]}" if name in taken else name
        return self._names.setdefault((group, settings.fingerprint), own)


def described(settings: Settings, name: str) -> TaskFeatures:
    """What is known of a run's task before any trial: as the run noted it, or computed again from its rows.

    Raises:
        UserError: the rows or the backbone cannot be had any more, or are others now.
    """
    features, kind = settings.features, ""
    embedding: tuple[float, ...] = ()
    if features is None:
        task = settings.worker.load_task()
        backbone = settings.worker.model_copy(update={"device": "cpu"}).load_backbone()
        if (task.fingerprint(), backbone.sha256) != (settings.fingerprint, settings.backbone_sha256):
            raise UserError("its task's rows or its backbone are not those of then")
        (features, embedding), kind = known(task, backbone), task.kind
    return TaskFeatures(
        task=name,
        kind=kind,
        metric=settings.metric,
        train_rows=settings.rows["train"],
        version=VERSION,
        features=features,
        embedding=embedding,
    )


def _teaching(trials: list[TrialRecord]) -> list[TrialRecord]:
    """Trials with a score; of one that went on with another, the whole."""
    doubled = carried_on(trials)
    return [
        trial
        for trial in trials
        if trial.state in ("complete", "pruned")
        and trial.candidate is not None
        and trial.seed is not None
        and trial.number not in doubled
        and any(_points(trial))
    ]


def _points(trial: TrialRecord) -> Iterator[Point]:
    for report in trial.curve:
        if math.isfinite(report.score) and math.isfinite(report.train_loss):
            yield Point.model_validate(report, from_attributes=True)


def _record(settings: Settings, trial: TrialRecord, task: str, *, repeat: int, versions: dict[str, str]) -> Record:
    assert trial.candidate is not None
    assert trial.seed is not None
    last = trial.curve[-1]
    return Record(
        task=task,
        train_rows=settings.rows["train"],
        backbone=settings.worker.backbone,
        backbone_sha256=settings.backbone_sha256,
        dtype=settings.worker.dtype or "fp32",
        device=settings.worker.device,
        candidate=trial.candidate,
        parameters=trial.parameters,
        repeat=repeat,
        seed=trial.seed,
        state="complete" if trial.state == "complete" else "pruned",
        reason=trial.reason,
        curve=tuple(_points(trial)),
        device_seconds=last.device_seconds,
        evaluation_seconds=last.evaluation_seconds,
        memory_bytes=last.memory_bytes or None,
        versions=versions,
    )


def _about(settings: Settings) -> About:
    return About(
        backbone=settings.worker.backbone,
        backbone_sha256=settings.backbone_sha256,
        dtype=settings.worker.dtype or "fp32",
        shape=settings.shape,
        space="own runs",
        space_text=settings.space,
        seed=settings.seed,
        curve=(),
    )


def _versions(run: Run) -> dict[str, str]:
    known = json.loads((run.path / RUN_FILE).read_text(encoding="utf-8")).get("versions") or {}
    return {name: known[name] for name in LIBRARIES if name in known}
