"""One search under way: what executors ask and tell. It joins study, budget, ledger and events."""

import math
import time
from collections.abc import Callable
from pathlib import Path

from autodelta.engine.assignment import Assignment
from autodelta.engine.report import Report
from autodelta.search.attempt import WEIGHTS, Order
from autodelta.search.budget import Budget, Spent
from autodelta.search.cost import Costs
from autodelta.search.events import (
    BestChanged,
    BudgetSpent,
    Event,
    Listener,
    Notice,
    TrialEnded,
    TrialReported,
    TrialStarted,
)
from autodelta.search.front import bar, best, front
from autodelta.search.ledger import Ledger, Spending
from autodelta.search.records import Outcome, TrialRecord
from autodelta.search.study import Study, trial_folder

UNFIT_IN_A_ROW = 3  # trials asked for and not started, because the budget is too small for them
OVERDUE_SECONDS = 15.0  # after the wall-clock limit, before a worker that does not report is ended
BUDGET = "budget"
INTERRUPTED = "interrupted"
FINISHED = "finished"


class Session:
    """What an executor needs: orders to start, whether to go on after a report, and where to tell outcomes."""

    def __init__(
        self,
        folder: Path,
        study: Study,
        budget: Budget,
        ledger: Ledger,
        *,
        workers: int,
        emit: Listener,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder = folder
        self.study = study
        self.budget = budget
        self.ledger = ledger
        self.workers = workers
        self.end_reason = BUDGET
        self.emit = emit
        self._clock = clock
        self._running: dict[int, Order] = {}
        self._stopped_for: dict[int, str] = {}
        self._interrupted = False
        self._budget_shown = -math.inf
        study.on_rejected = lambda trial: emit(TrialEnded(trial=trial))

    # --- what executors ask ------------------------------------------------------------------------------------

    def next(self) -> Order | None:
        """The next trial to start; None when this worker is not needed any more."""
        self.tick()
        for _ in range(UNFIT_IN_A_ROW):
            if self._interrupted or self.budget.exhausted(self.spent()) or not self._fits(self.costs().cheapest()):
                return None
            assignment = self.study.ask()
            if assignment is None:
                self.end_reason = FINISHED
                return None
            if self._fits(self.costs().seconds(assignment.candidate.training)):
                return self._start(assignment)
            self._refuse(assignment)
        return None

    def report(self, number: int, report: Report) -> bool:
        """Notes a trial's report; whether it is to go on."""
        if not self.study.report(number, report):
            return False
        steps = self._running[number].assignment.candidate.training.steps
        self.emit(
            TrialReported(
                number=number, step=report.step, steps=steps, score=report.score, train_loss=report.train_loss
            )
        )
        self.tick()
        if self._interrupted:
            self._stopped_for[number] = INTERRUPTED
        elif self.budget.seconds_left(self.spent()) <= 0:
            self._stopped_for[number] = BUDGET
        return number not in self._stopped_for

    def ended(self, number: int, outcome: Outcome) -> TrialRecord:
        """Tells how a trial ended, and keeps weights only of the trials on the front."""
        before = self.best()
        if outcome.state == "pruned" and not outcome.reason:
            outcome = outcome.model_copy(update={"reason": self._stopped_for.get(number, BUDGET)})
        trial = self.study.tell(number, outcome)
        self._running.pop(number, None)
        self._stopped_for.pop(number, None)
        self.emit(TrialEnded(trial=trial))
        now = self.best()
        if now is not None and (before is None or now.number != before.number):
            self.emit(BestChanged(trial=now))
        self.keep_only_front()
        self.tick()
        return trial

    def holds(self, worker: int, kind: Spending, *, trial: int | None = None, ago: float = 0.0) -> None:
        """A worker does this from now on, or since ``ago`` seconds."""
        self.ledger.enter(worker, kind, trial=trial, ago=ago)

    def releases(self, worker: int) -> None:
        """A worker is given back."""
        self.ledger.leave(worker)

    def notice(self, text: str) -> None:
        self.emit(Notice(text=text))

    @property
    def overdue(self) -> bool:
        """Whether workers that have not reported since the wall-clock ran out must be ended."""
        limit = self.budget.wall_seconds
        return limit is not None and self.ledger.wall_seconds > limit + OVERDUE_SECONDS

    # --- what the driver needs ---------------------------------------------------------------------------------

    def interrupt(self) -> None:
        """No trial starts from now on, and those that run stop at their next report."""
        self._interrupted = True
        self.end_reason = INTERRUPTED

    def stop_running(self) -> None:
        """Tells the trials that still run that the search has ended."""
        for number in list(self._running):
            self.ended(number, Outcome(state="pruned", reason=INTERRUPTED if self._interrupted else BUDGET))

    def best(self) -> TrialRecord | None:
        """The finished trial of the highest score."""
        return best(self.study.trials())

    def weights(self, number: int) -> Path:
        """Where a trial's trained deltas lie, if they were kept."""
        return trial_folder(self.folder, number) / WEIGHTS

    def costs(self) -> Costs:
        """What trials take, as far as is known."""
        return Costs(self.study.trials())

    def spent(self) -> Spent:
        """What the search has used up; running trials count as trials, those never trained do not."""
        return Spent(
            device_seconds=self.ledger.device_seconds,
            wall_seconds=self.ledger.wall_seconds,
            trials=sum(trial.seed is not None for trial in self.study.trials()),
        )

    def tick(self) -> None:
        """Books time; says about once a second how the budget stands."""
        self.ledger.tick()
        now = self._clock()
        if now - self._budget_shown >= 1.0:
            self._budget_shown = now
            self.emit(self.standing())

    def standing(self) -> Event:
        """How the budget stands now."""
        spent = self.spent()
        return BudgetSpent(
            budget={**self.budget.as_json(spent), "by_kind": self.ledger.by_kind()},
            share=self.budget.share_spent(spent),
            seconds_left=self._seconds_left(spent),
        )

    def keep_only_front(self) -> None:
        """Removes the weights of trials that are not on the front, and what a killed worker left half written."""
        kept = {trial.number for trial in front(self.study.trials())} | self._running.keys()
        for folder in (self.folder / "trials").glob("*"):
            if folder.name.isdigit() and int(folder.name) not in kept:
                for file in (folder / WEIGHTS, *folder.glob(".*.tmp")):
                    file.unlink(missing_ok=True)
                if not any(folder.iterdir()):
                    folder.rmdir()

    # --- inside ------------------------------------------------------------------------------------------------

    def _start(self, assignment: Assignment) -> Order:
        candidate, number = assignment.candidate, assignment.number
        trial = self.study.trial(number)
        seconds = self.budget.seconds_left(self.spent())
        order = Order(
            assignment=assignment.model_copy(update={"seconds": None if seconds == math.inf else seconds}),
            folder=trial_folder(self.folder.absolute(), number),  # a worker may stand in another folder
            keep_above=bar(self.study.trials(), trial.parameters),
        )
        self._running[number] = order
        self.emit(
            TrialStarted(
                number=number,
                methods=candidate.methods,
                parameters=trial.parameters,
                steps=candidate.training.steps,
                seed=assignment.seed,
            )
        )
        return order

    def _refuse(self, assignment: Assignment) -> None:
        needed = self.costs().seconds(assignment.candidate.training) or 0.0
        reason = f"{BUDGET}: it would take about {needed:.0f} s"
        self.emit(TrialEnded(trial=self.study.tell(assignment.number, Outcome(state="pruned", reason=reason))))

    def _fits(self, seconds: float | None) -> bool:
        """Whether a trial that takes so long will finish in what is left after the trials that run already."""
        spent = self.spent()
        if seconds is None:
            return True
        left_on_devices = self.budget.device_left(spent)
        return seconds <= self.budget.wall_left(spent) and (
            left_on_devices == math.inf or seconds + self._committed() <= left_on_devices
        )

    def _committed(self) -> float:
        """Device-seconds that running trials still need."""
        trials, costs = self.study.trials(), self.costs()
        return sum(
            max(0.0, (costs.seconds(order.assignment.candidate.training) or 0.0) - trials[number].device_seconds)
            for number, order in self._running.items()
        )

    def _seconds_left(self, spent: Spent) -> float | None:
        """Seconds of wall-clock until the search will end, where that can be said."""
        trials = [trial.device_seconds for trial in self.study.trials() if trial.state == "complete"]
        a_trial = sum(trials) / len(trials) if trials else math.inf
        times = (
            self.budget.wall_left(spent),
            self.budget.device_left(spent) / self.workers,
            self.budget.trials_left(spent) * a_trial / self.workers if self.budget.trials else math.inf,
        )
        left = min(times)
        return None if left == math.inf else max(0.0, left)
