"""One order on a worker, the same under every executor: from what is to be done to reports and an outcome."""

import math
import traceback
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from pydantic import BaseModel, ConfigDict

from autodelta.candidate import Candidate
from autodelta.engine.assignment import Assignment, WorkerSpec
from autodelta.engine.failures import BrokenCheckpoint, OutOfTime, Violated, ending
from autodelta.engine.report import Report, Scored
from autodelta.files import full, write_whole
from autodelta.search.records import Outcome

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS = "delta.safetensors"
CHECKPOINT = "checkpoint.safetensors"


class Worker(Protocol):
    """What the search needs of ``engine.worker.Worker``."""

    def run(self, assignment: Assignment, *, start: Path | None = None) -> Iterator[Report]: ...

    def save(self, path: Path) -> None: ...

    def weights(self) -> "dict[str, Tensor]": ...

    def close_trial(self) -> None: ...

    def evaluate(self, candidate: Candidate, weights: Path, split: str) -> Scored: ...


class Order(BaseModel):
    """What a worker is to do: train an assignment, or score weights that it left before on a split.

    Everything lies in ``folder``: a checkpoint at each report but the last, and the weights at the end.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    assignment: Assignment
    folder: Path
    start: Path | None = None  # the checkpoint to go on from, if it can be read
    # Weights are kept only if the score is above this: the front's height at that many parameters when the trial
    # started. The front only rises, so a stale value may keep too much but never too little.
    keep_above: float | None = None
    split: str | None = None  # score the weights in ``folder`` on this split; train nothing
    silence: float | None = None  # seconds without a report after which the worker is taken to hang

    @property
    def number(self) -> int:
        return self.assignment.number


class KeptWorker:
    """A worker that is opened once, kept for one order after another, and opened anew if one leaves it unclean."""

    def __init__(self, spec: WorkerSpec) -> None:
        self._spec = spec
        self._worker: Worker | None = None

    def open(self) -> Worker:
        """The worker, loaded if it is not yet."""
        if self._worker is None:
            self._worker = self._spec.open()
        return self._worker

    def attempt(self, order: Order) -> Generator[Report, bool, Outcome]:
        """Does one order: yields its reports, is sent whether to go on, and returns how it ended.

        A checkpoint, or the weights, are on disk before the report is out. Whatever goes wrong inside is an outcome.
        """
        worker = self.open()
        outcome = Outcome(state="pruned")
        try:
            outcome = yield from _tried(worker, order)
        finally:
            try:
                worker.close_trial()
            except Exception as error:
                self._worker = None
                outcome = _ended(error)
        return outcome


def drive(reports: Generator[Report, bool, Outcome], go_on: Callable[[Report], bool]) -> Outcome:
    """Runs an attempt to its end, asking at each report whether to go on."""
    with closing(reports):
        try:
            report = next(reports)
            while True:
                report = reports.send(go_on(report))
        except StopIteration as end:
            return cast(Outcome, end.value)


def _tried(worker: Worker, order: Order) -> Generator[Report, bool, Outcome]:
    try:
        if order.split is not None:
            scored = worker.evaluate(order.assignment.candidate, order.folder / WEIGHTS, order.split)
            return Outcome(state="complete", score=scored.score, predictions=scored.predictions)
        return (yield from _trained(worker, order))
    except OutOfTime:
        return Outcome(state="pruned")
    except Exception as error:
        said = full(error)
        return _ended(error) if said is None else Outcome(state="failed", reason=said, no_room=True)


def _trained(worker: Worker, order: Order) -> Generator[Report, bool, Outcome]:
    for report in _reports(worker, order):
        if not math.isfinite(report.score):
            return Outcome(state="failed", reason=f"the score is {report.score} at step {report.step}")
        if not report.done:
            order.folder.mkdir(parents=True, exist_ok=True)
            worker.save(order.folder / CHECKPOINT)
        elif order.keep_above is None or report.score > order.keep_above:
            _save(worker, order)
        go_on = yield report
        if report.done:
            return Outcome(state="complete")
        if not go_on:
            return Outcome(state="pruned")
    return Outcome(state="failed", reason="the trial ended without a last report")


def _reports(worker: Worker, order: Order) -> Iterator[Report]:
    """The trial's reports; from the start where its checkpoint cannot be read."""
    if order.start is not None and order.start.exists():
        try:
            yield from worker.run(order.assignment, start=order.start)
            return
        except BrokenCheckpoint:  # torn by a crash
            pass
    yield from worker.run(order.assignment)


def _ended(error: Exception) -> Outcome:
    found = ending(error)
    told = "" if isinstance(error, Violated) else "".join(traceback.format_exception(error))
    return Outcome(state=found.state, reason=found.reason, traceback=told)


def _save(worker: Worker, order: Order) -> None:
    from safetensors.torch import save_file

    weights: dict[str, Any] = {name: tensor.contiguous() for name, tensor in worker.weights().items()}
    order.folder.mkdir(parents=True, exist_ok=True)
    write_whole(order.folder / WEIGHTS, lambda path: save_file(weights, path))
