"""Workers that train nothing, for collections: a score comes at once from the candidate, or something goes wrong."""

import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from autodelta.engine.assignment import Assignment, WorkerSpec
from autodelta.engine.failures import NotFinite, Violated
from autodelta.engine.report import Report, Scored
from autodelta.meta.features import at_a_glance
from autodelta.meta.records import Table, TaskFeatures, task_key
from autodelta.studies.collect import collect
from autodelta.studies.plan import Plan
from autodelta.tasks import Task, View
from autodelta.tasks.task import Row, assemble
from tests.search.fakes import LABELS, SHAPE, SPACE, WORDS, score

ROWS = {"one": 100, "two": 60}  # of train
TEXTS: dict[str, str] = {}  # how rows begin, where not as usual


class FakeSpec(WorkerSpec):
    """Opens a fake worker. ``dtype`` names what goes wrong: trouble, or a file that counts trials and deaths."""

    def open(self) -> "FakeWorker":  # type: ignore[override]
        return FakeWorker(self)

    def load_task(self) -> Task:
        """Rows of two labels."""
        text, number = TEXTS.get(self.task, "row"), ROWS.get(self.task, 100)
        rows = tuple(Row((f"{text} {at}",), LABELS[at % 2]) for at in range(number))
        view = View(name="fake", labels=LABELS, inputs=("text",), metric="accuracy", template="{text}", words=WORDS)
        task = assemble(view, {"train": rows, "validation": rows, "test": rows})
        return task if self.train_rows is None else task.limited(self.train_rows, 0)

    def load_backbone(self) -> Any:
        return SimpleNamespace(shape=SHAPE, sha256="0" * 64, dtype_name="fp32")


class FakeWorker:
    """Reports where it is asked to, with a score that rises."""

    def __init__(self, spec: FakeSpec) -> None:
        self.spec = spec
        self.task = spec.load_task()

    def run(self, assignment: Assignment) -> Iterator[Report]:
        steps = assignment.candidate.training.steps
        at = [*(step for step in assignment.report_at if step < steps), steps]
        self._score = score(assignment)
        if self.spec.data is not None:
            note(self.spec.data, f"{task_key(self.spec.task, self.spec.train_rows)} {assignment.candidate.key}")
            time.sleep(0.02)
        for number, step in enumerate(at, start=1):
            if self.spec.dtype == "trouble" and number == 2:
                trouble(assignment)
            yield Report(
                step=step,
                score=self._score * step / steps,
                train_loss=1 / step,
                device_seconds=step / 100,
                evaluation_seconds=number / 100,
                memory_bytes=1000,
                done=step == steps,
            )

    def evaluate_running(self, split: str) -> Scored:
        assert split == "test"
        return Scored(score=self._score / 2, predictions=())

    def close_trial(self) -> None: ...


def trouble(assignment: Assignment) -> None:
    match assignment.candidate.methods:
        case ("lora",):
            raise NotFinite(7, float("nan"))
        case ("bitfit",):
            raise Violated("latency", 1.4, 1.1)
        case ("lora", "bitfit"):
            raise MemoryError("3 GiB more were needed")
        case ("bitfit", "prompt"):
            assert multiprocessing.parent_process(), "it would end the tests"
            os._exit(9)


def note(path: Path, line: str) -> None:
    """One line more; short appends of several processes do not mix."""
    with path.open("a") as file:
        file.write(line + "\n")


def described(spec: WorkerSpec) -> TaskFeatures:
    task = spec.load_task()
    return TaskFeatures(
        task=task_key(spec.task, spec.train_rows),
        kind="nli",
        metric="accuracy",
        train_rows=len(task.rows["train"]),
        version=1,
        features=at_a_glance(task),
    )


class Here(Executor):
    """Does a job at once, in this process."""

    def __init__(self, lifeline: Connection) -> None: ...

    def submit(self, function: Any, /, *arguments: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(function(*arguments))
        except BaseException as error:
            future.set_exception(error)
        return future


def plan(folder: Path, **changes: Any) -> Plan:
    space = folder / "space.yaml"
    if not space.exists():
        space.write_text(SPACE)
    given = {"tasks": ["one", "two"], "backbone": "fake", "space": str(space), "shared": 6, "fresh": 4, "curve": 3}
    return Plan.model_validate({**given, "repeats": {"candidates": 2, "seeds": 3}, **changes})


def collected(folder: Path, asked: Plan, *, say: Any = lambda line: None, **changes: Any) -> Table:
    """A collection in this process."""
    spec = FakeSpec(backbone="fake", task=asked.tasks[0].name, **changes)
    return collect(asked, folder / "table", spec, workers=2, say=say, start=Here, described=described)


if __name__ == "__main__":  # collect with processes, until somebody kills it
    folder = Path(sys.argv[1])
    spec = FakeSpec(backbone="fake", task="one", data=folder / "trained")
    collect(plan(folder, shared=40, fresh=20), folder / "table", spec, workers=2, say=print, described=described)
