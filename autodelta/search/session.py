"""The trials of a search under way: what starts next, what goes on, what is kept of what has ended."""

import math
from collections import Counter, deque
from pathlib import Path

from autodelta.engine.assignment import Assignment
from autodelta.engine.report import Report
from autodelta.search.attempt import Order
from autodelta.search.events import BestChanged, Listener, TrialEnded, TrialReported, TrialStarted
from autodelta.search.front import bar, best
from autodelta.search.ledger import Spending
from autodelta.search.outlook import Outlook, plan_of
from autodelta.search.pruning import ETA
from autodelta.search.records import BUDGET, INTERRUPTED, Outcome, TrialRecord
from autodelta.search.study import Study
from autodelta.search.trial_files import TrialFiles
from autodelta.search.work import LOSSES, Accounts, Work
from autodelta.search.worth import Enough

UNFIT_IN_A_ROW = 3  # trials asked for and not started, because the budget is too small for them
ALIKE = 5  # trials of this session that failed for one reason, before any other reported: the rest would, too
HOPELESS = 100  # trials of this session that ended before any reported, for whatever reason
FINISHED, NOT_WORTH, ALL_FAIL = "finished", "another trial is not worth its cost", "every trial fails"


class Session(Work):
    """Joins study, budget, ledger and events; executors ask it and tell it."""

    def __init__(
        self,
        folder: Path | None,
        study: Study,
        accounts: Accounts,
        *,
        workers: int,
        enough: Enough = lambda trials: None,
    ) -> None:
        super().__init__(folder, accounts)
        self.study = study
        self.enough = enough
        self.ended_early = ""  # why, if it did
        self.workers = workers
        self.end_reason = BUDGET
        self._owed = deque(study.running)  # asked for by a search that was interrupted or killed
        self._running: dict[int, Order] = {}
        self._heard: dict[int, int] = {}  # the last step that a trial reported to this session
        self.outlook = Outlook(study, accounts, workers=workers, running=self._running)
        self.files = TrialFiles(folder, study)
        self._unfit = False
        self.failures: list[str] = []  # why, of this session's trials
        self.infeasible: list[str] = []  # why, of those that a worker found to be so
        self._stopped_for: dict[int, str] = {}
        study.on_rejected = lambda trial: accounts.emit(TrialEnded(trial=trial))

    # --- what executors ask ------------------------------------------------------------------------------------

    def next(self, *, beside: int = 0, room: bool = True) -> Order | None:
        """The next trial to start; None when this worker is not needed any more, or for nothing beside its others."""
        self.tick()
        while (owed := self._owed_to(beside, room)) is not None:
            self._owed.remove(owed)
            if self._still_fits(owed):
                return self._start(self.study.assignment(owed))
            self.ended(owed, Outcome(state="pruned"))
        if beside and not (room and self._may_join(beside)):
            return None
        if self.all_fail:
            self.end_reason = ALL_FAIL
            return None
        for _ in range(UNFIT_IN_A_ROW):
            if self.outlook.seconds_left() <= 0:
                return None
            no_new = self.outlook.trials_left() <= 0 or self.outlook.nothing_fits()
            if (self.ended_early or not no_new) and self._not_worth_it():
                return None
            assignment = self.study.ask(
                only_continue=no_new, fits=self.outlook.rest_fits, plan_fits=self.outlook.plan_fits
            )
            if assignment is None:
                self.end_reason = BUDGET if no_new else FINISHED
                return None
            trial = self.study.trial(assignment.number)
            if trial.continues is not None or self.outlook.rest_fits(trial):  # what goes on was chosen because it fits
                return self._start(assignment)
            self._refuse(assignment)
        self._unfit = True
        return None

    def report(self, number: int, report: Report) -> bool:
        """Notes a trial's report; whether it is to go on."""
        before = self.study.trial(number)
        self._heard[number] = report.step
        passes = self.study.report(number, report)
        if report.step > before.step:
            already = before.curve[-1].evaluation_seconds if before.curve else 0.0
            self.accounts.ledger.move(number, report.evaluation_seconds - already, to=Spending.EVALUATION)
            self._tell(number, report)
        self.tick()
        if math.isfinite(report.score) and not passes:
            self._stopped_for[number] = f"not among the best 1/{ETA} at step {report.step}"
        elif not report.done and not self.outlook.may_go_on(number, report):
            self._stopped_for[number] = BUDGET
        return passes and number not in self._stopped_for

    def ended(self, number: int, outcome: Outcome) -> None:
        """Tells how a trial ended, and keeps what may yet be wanted of its files."""
        self.check_room(outcome)
        before = self.best()
        if outcome.state == "pruned" and not outcome.reason:
            outcome = outcome.model_copy(update={"reason": self._stopped_for.get(number, BUDGET)})
        if outcome.state == "pruned":
            self.files.inherit(self.study.trial(number))
        trial = self.study.tell(number, outcome)
        if outcome.state == "failed":
            self.failures.append(outcome.reason)
        if outcome.state == "infeasible":
            self.infeasible.append(outcome.reason)
        self._running.pop(number, None)
        self._stopped_for.pop(number, None)
        self.accounts.emit(TrialEnded(trial=trial))
        now = self.best()
        if now is not None and (before is None or now.number != before.number):
            self.accounts.emit(BestChanged(trial=now))
        self.files.clear()
        self.tick()

    def lost(self, number: int, words: str) -> None:
        """A trial whose worker died goes on once from its last rung; the second time it has failed."""
        if self.study.lose(number) > LOSSES:
            self.ended(number, Outcome(state="failed", reason=words))
        else:
            self._running.pop(number, None)
            self._owed.append(number)
            self.notice(f"trial {number}: {words}; it goes on from its last rung")

    def silence(self, number: int) -> float:
        return self.outlook.silence(number)

    def tick(self) -> None:
        """Books time; says about once a second how the budget stands."""
        self.accounts.tick(self.outlook.standing)

    def listen(self, listener: Listener) -> None:
        """Also what is best so far, which nobody says again in a search that goes on."""
        super().listen(listener)
        found = self.best()
        if found is not None:
            listener(BestChanged(trial=found))

    # --- what the driver needs ---------------------------------------------------------------------------------

    def ended_before(self) -> dict[str, int]:
        """How many trials have ended, by how they did."""
        return Counter(trial.state for trial in self.study.trials() if trial.state != "running")

    def interrupt(self) -> None:
        """The search was ended by Ctrl-C. The trials under way stay as they are, as after a kill."""
        self.end_reason = INTERRUPTED

    def stop_running(self) -> None:
        """Ends the trials that still run once the budget is spent."""
        for number in self.study.running:
            self.ended(number, Outcome(state="pruned", reason=BUDGET))
        self._owed.clear()

    @property
    def all_fail(self) -> bool:
        """Whether no trial of this session has reported anything, and several failed for the same reason, or very many
        could not be trained."""
        alike = len(self.failures) >= ALIKE and len(set(self.failures)) == 1
        return not self._heard and (alike or len(self.failures) + len(self.infeasible) >= HOPELESS)

    def best(self) -> TrialRecord | None:
        """The finished trial of the highest score."""
        return best(self.study.trials())

    # --- inside ------------------------------------------------------------------------------------------------

    def _owed_to(self, beside: int, room: bool) -> int | None:
        """A trial that was asked for before and is to go on here.

        One under which a worker died goes on alone, to see whose fault it was. The only worker takes all others at
        once: those that went together before a kill do so again, so that all goes on in the same order.
        """
        fit = [number for number in self._owed if not (beside and self.study.trial(number).lost)]
        return fit[0] if fit and (room or self.workers == 1) else None

    def _still_fits(self, number: int) -> bool:
        """Whether a trial whose worker or search died may go on: time went by since that was said of it."""
        trial = self.study.trial(number)
        if trial.curve:
            return trial.curve[-1].done or self.outlook.may_go_on(number, trial.curve[-1])
        return self.outlook.seconds_left() > 0 and self.outlook.rest_fits(trial)

    def _may_join(self, beside: int) -> bool:
        """Whether a new trial may start beside others: not before these are where they were when the search was killed,
        not where three were too long for what is left, and not at the cost of a worker that would have none."""
        trials = self.study.trials()
        back = all(self._heard.get(number, 0) >= trials[number].step for number in self._running)
        left = self.outlook.trials_left() + len(self._running)
        return back and not self._unfit and (self.workers == 1 or beside < left / self.workers)

    def _not_worth_it(self) -> bool:
        """Whether no more trials start, as none promises enough; it stays so."""
        if not self.ended_early:
            self.ended_early = self.enough(self.study.trials()) or ""
            if self.ended_early:
                self.end_reason = NOT_WORTH
                self.notice(f"no more trials start: {self.ended_early}")
        return bool(self.ended_early)

    def _start(self, assignment: Assignment) -> Order:
        candidate, number = assignment.candidate, assignment.number
        trial = self.study.trial(number)
        seconds = self.outlook.seconds_left()
        limits = {
            "seconds": None if seconds == math.inf else max(0.0, seconds),
            "entered": assignment.entered if self.workers == 1 else None,  # of several, each has a clock of its own
        }
        order = Order(
            assignment=assignment.model_copy(update=limits),
            folder=self.files.of(number),
            start=self.files.start_from(trial),
            keep_above=bar(self.study.trials(), trial.parameters),
            silence=self.silence(number),
        )
        self._running[number] = order
        self.accounts.emit(
            TrialStarted(
                number=number,
                methods=candidate.methods,
                parameters=trial.parameters,
                steps=candidate.training.steps,
                seed=assignment.seed,
                continues=trial.continues,
            )
        )
        return order

    def _tell(self, number: int, report: Report) -> None:
        self.accounts.emit(
            TrialReported(
                number=number,
                step=report.step,
                steps=plan_of(self.study.trial(number)).steps,
                score=report.score,
                train_loss=report.train_loss,
            )
        )

    def _refuse(self, assignment: Assignment) -> None:
        needed = self.outlook.costs().seconds(assignment.candidate.training) or 0.0
        reason = f"{BUDGET}: it would take about {needed:.0f} s"
        trial = self.study.tell(assignment.number, Outcome(state="pruned", reason=reason))
        self.accounts.emit(TrialEnded(trial=trial))
