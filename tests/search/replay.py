"""A real executor's worker that goes by records: it waits as long as they say, and saves what a real one would."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from autodelta.candidate import Candidate
from autodelta.engine.assignment import Assignment, WorkerSpec
from autodelta.engine.report import Report, Scored
from autodelta.meta.records import Record
from autodelta.search.executors.table import Replayed, VirtualClock, replayed

if TYPE_CHECKING:
    from torch import Tensor

CLOCK = VirtualClock()  # what passes where nobody sleeps


class ReplaySpec(WorkerSpec):
    """``task`` is a file of records. Workers are ready at a moment that all know, and then sleep, or move a clock."""

    second: float | None = None  # how long a recorded second takes; None: it passes on ``CLOCK``
    ready_at: float = 0.0

    def open(self) -> "ReplayWorker":  # type: ignore[override]
        records = [Record.model_validate_json(line) for line in Path(self.task).read_text().splitlines()]
        time.sleep(max(0.0, self.ready_at - time.time()))
        return ReplayWorker({record.candidate.key: replayed(record) for record in records}, self)


class ReplayWorker:
    """Says what the records say, when they say it."""

    def __init__(self, trials: dict[str, Replayed], spec: ReplaySpec) -> None:
        self._trials = trials
        self._spec = spec
        self._last: Report | None = None
        self._worked = 0.0

    def _wait(self, seconds: float) -> None:
        """Sleeps up to a moment that does not depend on how long anything else took."""
        self._worked += seconds
        if self._spec.second is None:
            CLOCK.now += seconds
        else:
            time.sleep(max(0.0, self._spec.ready_at + self._worked * self._spec.second - time.time()))

    def run(self, assignment: Assignment, *, start: Path | None = None) -> Iterator[Report]:
        trial = self._trials[assignment.candidate.key]
        held = json.loads(start.read_text()) if start is not None else {"step": 0, "seconds": 0.0}
        spent = held["seconds"]
        limit = spent + (assignment.seconds if assignment.seconds is not None else float("inf"))
        for report in trial.at(assignment.report_at):
            if report.step > held["step"]:
                if report.device_seconds > limit:
                    self._wait(limit - spent)
                    raise TimeoutError
                self._wait(report.device_seconds - spent)
                spent = report.device_seconds
            self._last = report
            yield report
        self._wait(trial.seconds - spent)
        if trial.outcome.state == "infeasible":
            raise MemoryError(trial.outcome.reason)
        raise RuntimeError(trial.outcome.reason)

    def save(self, path: Path) -> None:
        assert self._last is not None
        path.write_text(json.dumps({"step": self._last.step, "seconds": self._last.device_seconds}))

    def weights(self) -> "dict[str, Tensor]":
        import torch

        return {"number": torch.tensor([1.0])}

    def close_trial(self) -> None:
        self._last = None

    def evaluate(self, candidate: Candidate, weights: Path, split: str) -> Scored:
        raise NotImplementedError
