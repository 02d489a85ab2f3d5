"""Orders on a worker, the same under every executor: from what is to be done to reports and an outcome."""

import math
import traceback
from collections.abc import Generator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from autodelta.candidate import Candidate
from autodelta.engine.assignment import Assignment, WorkerSpec
from autodelta.engine.failures import BrokenCheckpoint, OutOfTime, Violated, ending
from autodelta.engine.report import Report, Scored
from autodelta.files import full, write_whole
from autodelta.frozen import Frozen
from autodelta.search.records import Outcome

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS = "delta.safetensors"
CHECKPOINT = "checkpoint.safetensors"


class Worker(Protocol):
    """What the search needs of ``engine.worker.Worker``."""

    def enter(self, assignment: Assignment, *, start: Path | None = None) -> None: ...

    def advance(self) -> tuple[int, Report | Exception]: ...

    def leave(self, number: int) -> None: ...

    def room(self) -> bool: ...

    def save(self, path: Path, number: int) -> None: ...

    def weights(self, number: int) -> "dict[str, Tensor]": ...

    def close_trial(self) -> None: ...

    def evaluate(self, candidate: Candidate, weights: Path, split: str) -> Scored: ...


class Order(Frozen):
    """What a worker is to do: train an assignment, or score weights that it left before on a split.

    Everything lies in ``folder``: a checkpoint at each report but the last, and the weights at the end.
    """

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


class Client(Protocol):
    """Who gives orders, and is told what becomes of them."""

    def next(self, *, beside: int, room: bool) -> Order | None:
        """What to begin beside so many others; None: nothing, for now."""

    def report(self, number: int, report: Report) -> bool:
        """Hears a report; whether the order is to go on."""

    def ended(self, number: int, outcome: Outcome) -> None:
        """Hears how an order ended."""


class KeptWorker:
    """A worker that is opened once and kept, and the orders that it is at."""

    def __init__(self, spec: WorkerSpec) -> None:
        self._spec = spec
        self._orders: dict[int, Order] = {}

    def open(self) -> Worker:
        """The worker, loaded if it is not yet."""
        return self._worker

    @cached_property
    def _worker(self) -> Worker:
        return self._spec.open()

    def serve(self, client: Client) -> None:
        """Does what there is to do, several orders at a time where that pays, until there is no more."""
        while True:
            while (order := client.next(beside=len(self._orders), room=self._room())) is not None:
                outcome = self.begin(order)
                if outcome is not None:
                    client.ended(order.number, outcome)
            if not self._orders:
                return
            number, news = self.advance()
            ended = news if isinstance(news, Outcome) else self.answer(number, news, client.report(number, news))
            if ended is not None:
                client.ended(number, ended)

    def attempt(self, order: Order) -> Generator[Report, bool, Outcome]:
        """Does one order alone: yields its reports, is sent whether to go on, and returns how it ended."""
        try:
            outcome = self.begin(order)
            while outcome is None:
                _, news = self.advance()
                outcome = self.answer(order.number, news, (yield news)) if isinstance(news, Report) else news
            return outcome
        finally:
            self.close()

    def begin(self, order: Order) -> Outcome | None:
        """Takes an order up beside the others; how it ended, if it has. Whatever goes wrong inside is an outcome."""
        try:
            if order.split is not None:
                scored = self._worker.evaluate(order.assignment.candidate, order.folder / WEIGHTS, order.split)
                return Outcome(state="complete", score=scored.score, predictions=scored.predictions)
            self._enter(order)
        except Exception as error:
            return _ended(error)
        self._orders[order.number] = order
        return None

    def advance(self) -> tuple[int, Report | Outcome]:
        """What happens next. A checkpoint, or the weights, are on disk before a report is out."""
        number, found = self._worker.advance()
        order = self._orders[number]
        if isinstance(found, Report):
            outcome = self._kept(order, found)
            if outcome is None:
                return number, found
            self._worker.leave(number)
        else:
            outcome = _ended(found)
        del self._orders[number]
        return number, outcome

    def answer(self, number: int, report: Report, go_on: bool) -> Outcome | None:
        """What becomes of an order after its report; None: it goes on."""
        if go_on and not report.done:
            return None
        self._worker.leave(number)
        del self._orders[number]
        return Outcome(state="complete" if report.done else "pruned")

    def close(self) -> None:
        """Lets all orders go."""
        self._orders.clear()
        self._worker.close_trial()

    def _room(self) -> bool:
        return not self._orders or self._worker.room()

    def _enter(self, order: Order) -> None:
        """From its checkpoint; from the start where that cannot be read."""
        if order.start is not None and order.start.exists():
            try:
                return self._worker.enter(order.assignment, start=order.start)
            except BrokenCheckpoint:  # torn by a crash
                pass
        self._worker.enter(order.assignment)

    def _kept(self, order: Order, report: Report) -> Outcome | None:
        """Writes down what is wanted of a trial at a report; how it ended, if that or the report went wrong."""
        if not math.isfinite(report.score):
            return Outcome(state="failed", reason=f"the score is {report.score} at step {report.step}")
        try:
            if not report.done:
                order.folder.mkdir(parents=True, exist_ok=True)
                self._worker.save(order.folder / CHECKPOINT, order.number)
            elif order.keep_above is None or report.score > order.keep_above:
                _save(self._worker.weights(order.number), order.folder)
        except Exception as error:
            return _ended(error)
        return None


def _ended(error: Exception) -> Outcome:
    """How an order ended that raised something."""
    if isinstance(error, OutOfTime):
        return Outcome(state="pruned")
    said = full(error)
    if said is not None:
        return Outcome(state="failed", reason=said, no_room=True)
    found = ending(error)
    told = "" if isinstance(error, Violated) else "".join(traceback.format_exception(error))
    return Outcome(state=found.state, reason=found.reason, traceback=told)


def _save(weights: "dict[str, Tensor]", folder: Path) -> None:
    from safetensors.torch import save_file

    whole: dict[str, Any] = {name: tensor.contiguous() for name, tensor in weights.items()}
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / WEIGHTS, lambda path: save_file(whole, path))
