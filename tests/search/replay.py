"""A real executor's worker that goes by records: it waits as long as they say, and saves what a real one would."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from autodelta.candidate import Candidate
from autodelta.engine.assignment import Assignment, WorkerSpec
from autodelta.engine.report import Report, Scored
from autodelta.files import write_text
from autodelta.meta.records import Record
from autodelta.search.executors.table import Replayed, VirtualClock, replayed
from tests.search.fakes import Rostered

if TYPE_CHECKING:
    from torch import Tensor

CLOCK = VirtualClock()  # what passes where nobody sleeps


class ReplaySpec(WorkerSpec):
    """``task`` is a file of records. Workers in processes of their own take turns by recorded time."""

    turns: Path | None = None  # a folder where each of two workers says when it reports next; None: ``CLOCK`` passes

    def open(self) -> "ReplayWorker":  # type: ignore[override]
        records = [Record.model_validate_json(line) for line in Path(self.task).read_text().splitlines()]
        turns = Turns(self.turns) if self.turns is not None else None
        return ReplayWorker({record.candidate.key: replayed(record) for record in records}, turns)


class Turns:
    """Two processes that go on in the order of recorded time, whatever each of them really takes.

    A worker says when it reports next, and waits as long as another one that lives has said an earlier time: that one
    says a later time only after the search has answered its report, or given it other work.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.say(0.0)
        while len(self._others()) < 1:
            time.sleep(0.01)

    def say(self, seconds: float) -> None:
        write_text(self._folder / str(os.getpid()), str(seconds))

    def wait_until(self, seconds: float) -> None:
        self.say(seconds)
        while any(said < seconds and psutil.pid_exists(pid) for pid, said in self._others().items()):
            time.sleep(0.005)

    def _others(self) -> dict[int, float]:
        found = {int(file.name): file for file in self._folder.glob("[0-9]*") if file.name != str(os.getpid())}
        return {pid: float(file.read_text()) for pid, file in found.items()}


class ReplayWorker(Rostered):
    """Says what the records say, when they say it."""

    def __init__(self, trials: dict[str, Replayed], turns: Turns | None) -> None:
        super().__init__()
        self._trials = trials
        self._turns = turns
        self._last: Report | None = None
        self._worked = 0.0

    def _wait(self, seconds: float) -> None:
        self._worked += seconds
        if self._turns is None:
            CLOCK.now += seconds
        else:
            self._turns.wait_until(self._worked)

    def reports(self, assignment: Assignment, start: Path | None) -> Iterator[Report]:
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

    def save(self, path: Path, number: int) -> None:
        assert self._last is not None
        path.write_text(json.dumps({"step": self._last.step, "seconds": self._last.device_seconds}))

    def weights(self, number: int) -> "dict[str, Tensor]":
        import torch

        return {"number": torch.tensor([1.0])}

    def evaluate(self, candidate: Candidate, weights: Path, split: str) -> Scored:
        raise NotImplementedError
