"""What a collection's worker process does: one trial to the end, test score included, or the description of a task.

A process holds one worker, with its backbone and task; another task replaces it.
"""

import importlib.metadata
import math
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from autodelta import __version__
from autodelta.engine.assignment import Assignment, WorkerSpec
from autodelta.engine.failures import ending
from autodelta.engine.report import Report
from autodelta.errors import UserError
from autodelta.frozen import Frozen
from autodelta.meta.features import VERSION, at_a_glance
from autodelta.meta.records import Point, Record, TaskFeatures, task_key
from autodelta.search.knowledge import known
from autodelta.tasks import Task

if TYPE_CHECKING:
    from autodelta.engine.worker import Worker

SAME = 1e-6  # features of the same rows, on whatever machine
LIBRARIES = ("torch", "transformers")


class Job(Frozen):
    """One trial of a collection, and on which task and backbone."""

    spec: WorkerSpec
    assignment: Assignment
    repeat: int
    known: TaskFeatures  # what the table has of the task
    parameters: int
    backbone_sha256: str
    dtype: str
    device: str  # as records call it

    @property
    def task(self) -> str:
        return task_key(self.spec.task, self.spec.train_rows)


class _Held(NamedTuple):
    spec: WorkerSpec
    worker: "Worker"


_held: list[_Held] = []  # one at most: the worker of this process


def attempt(job: Job) -> Record:
    """Trains a candidate to the end and scores it on test. Whatever goes wrong inside the trial is in the record.

    Raises:
        UserError: the task or the backbone cannot be loaded, or the task has other rows now.
    """
    worker = _opened(job.spec)
    check_rows(worker.task, job.known)
    reports: list[Report] = []
    ended: dict[str, Any]
    began = time.monotonic()
    try:
        ended = _trained(worker, job.assignment, reports)
    except Exception as error:
        ended = ending(error)._asdict()
    seconds = time.monotonic() - began
    try:
        worker.close_trial()
    except Exception:  # the backbone may not be clean: the next trial gets a new one
        _held.clear()
    return _record(job, reports, seconds=seconds, **ended)


def describe(spec: WorkerSpec) -> TaskFeatures:
    """What is known of a task without a trial, the frozen encoder's view of it included.

    Raises:
        UserError: the task or the backbone cannot be loaded.
    """
    worker = _opened(spec)
    task = worker.task
    found, embedding = known(task, worker.backbone)
    return TaskFeatures(
        task=task_key(spec.task, spec.train_rows),
        kind=task.kind,
        metric=task.metric,
        train_rows=len(task.rows["train"]),
        version=VERSION,
        features=found,
        embedding=embedding,
    )


def _opened(spec: WorkerSpec) -> "Worker":
    """The process's worker on this task; an earlier one on another task is let go first."""
    if not _held or _held[0].spec != spec:
        _held.clear()
        _held.append(_Held(spec, spec.open()))
    return _held[0].worker


def _trained(worker: "Worker", assignment: Assignment, reports: list[Report]) -> dict[str, Any]:
    for report in worker.run(assignment):
        if not (math.isfinite(report.score) and math.isfinite(report.train_loss)):
            reason = f"score {report.score}, loss {report.train_loss} at step {report.step}"
            return {"state": "failed", "reason": reason}
        reports.append(report)
        if report.done:
            test = worker.evaluate_running("test").score
            if not math.isfinite(test):
                return {"state": "failed", "reason": f"score {test} on test"}
            return {"state": "complete", "test": test}
    return {"state": "failed", "reason": "the trial ended without a last report"}


def check_rows(task: Task, then: TaskFeatures) -> None:
    """Raises UserError where a task has other rows than when its table began: its trials would not compare."""
    rows = len(task.rows["train"])
    if rows != then.train_rows:
        said = f"has {rows} rows of train, and had {then.train_rows} when the table began"
    else:
        pairs = {name: (value, then.features.get(name, value)) for name, value in at_a_glance(task).items()}
        other = [name for name, pair in pairs.items() if not math.isclose(*pair, rel_tol=SAME, abs_tol=SAME)]
        if not other:
            return
        now, before = pairs[other[0]]
        said = f"has other rows than when the table began ({other[0]} {now:.4g}, it was {before:.4g})"
    raise UserError(f"the task {then.task!r} {said}: collect with the rows of then, or into another folder")


def lost(job: Job, reason: str) -> Record:
    """The record of a trial whose process died."""
    return _record(job, [], seconds=0.0, state="failed", reason=reason)


def _record(job: Job, reports: list[Report], *, seconds: float, **ended: Any) -> Record:
    last = reports[-1] if reports else None
    return Record(
        task=job.task,
        train_rows=job.known.train_rows,
        backbone=job.spec.backbone,
        backbone_sha256=job.backbone_sha256,
        dtype=job.dtype,
        device=job.device,
        candidate=job.assignment.candidate,
        parameters=job.parameters,
        repeat=job.repeat,
        seed=job.assignment.seed,
        curve=tuple(Point.model_validate(report, from_attributes=True) for report in reports),
        device_seconds=last.device_seconds if last and last.done else seconds,
        evaluation_seconds=last.evaluation_seconds if last else 0.0,
        memory_bytes=(last.memory_bytes or None) if last else None,
        versions=_versions(),
        **ended,
    )


def _versions() -> dict[str, str]:
    return {"autodelta": __version__, **{name: importlib.metadata.version(name) for name in LIBRARIES}}
