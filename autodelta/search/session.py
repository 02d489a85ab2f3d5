"""The trials of a search under way: what starts next, what goes on, what is kept of what has ended."""

import math
from collections import deque
from pathlib import Path

from autodelta.candidate import Training
from autodelta.engine.assignment import Assignment
from autodelta.engine.report import Report
from autodelta.search.attempt import CHECKPOINT, WEIGHTS, Order
from autodelta.search.budget import Spent
from autodelta.search.cost import Costs
from autodelta.search.events import BestChanged, TrialEnded, TrialReported, TrialStarted
from autodelta.search.front import bar, best, front
from autodelta.search.ledger import Spending
from autodelta.search.pruning import ETA
from autodelta.search.records import BUDGET, CUT_SHORT, INTERRUPTED, Outcome, TrialRecord
from autodelta.search.study import Study, trial_folder
from autodelta.search.work import LOSSES, Accounts, Work, patience
from autodelta.search.worth import Enough

UNFIT_IN_A_ROW = 3  # trials asked for and not started, because the budget is too small for them
CHECKPOINTS_KEPT = 16  # of stopped trials that may yet go on
FINISHED, NOT_WORTH = "finished", "another trial is not worth its cost"


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
        self._owed = deque(study.running)  # asked for by a search that was killed
        self._running: dict[int, Order] = {}
        self._heard: dict[int, int] = {}  # the last step that a trial reported to this session
        self._unfit = False
        self._stopped_for: dict[int, str] = {}
        study.on_rejected = lambda trial: accounts.emit(TrialEnded(trial=trial))

    # --- what executors ask ------------------------------------------------------------------------------------

    def next(self, *, beside: int = 0, room: bool = True) -> Order | None:
        """The next trial to start; None when this worker is not needed any more, or for nothing beside its others."""
        self.tick()
        if self.interrupted:
            return None
        owed = self._owed_to(beside, room)
        if owed is not None:
            self._owed.remove(owed)
            return self._start(self.study.assignment(owed))
        if beside and not (room and self._may_join(beside)):
            return None
        for _ in range(UNFIT_IN_A_ROW):
            if self._not_worth_it():
                return None
            if self._exhausted() or not self._fits(self.costs().cheapest()):
                return None
            no_new = self.accounts.search_budget.trials_left(self.spent()) <= 0
            assignment = self.study.ask(only_continue=no_new, fits=self._rest_fits)
            if assignment is None:
                self.end_reason = BUDGET if no_new else FINISHED
                return None
            if self._rest_fits(self.study.trial(assignment.number)):
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
        elif self.interrupted:
            self._stopped_for[number] = INTERRUPTED
        elif not report.done and not self._next_rung_fits(number, report):
            self._stopped_for[number] = BUDGET
        return passes and number not in self._stopped_for

    def ended(self, number: int, outcome: Outcome) -> None:
        """Tells how a trial ended, and keeps what may yet be wanted of its files."""
        self.check_room(outcome)
        before = self.best()
        if outcome.state == "pruned" and not outcome.reason:
            outcome = outcome.model_copy(update={"reason": self._stopped_for.get(number, BUDGET)})
        trial = self.study.tell(number, outcome)
        self._running.pop(number, None)
        self._stopped_for.pop(number, None)
        self.accounts.emit(TrialEnded(trial=trial))
        now = self.best()
        if now is not None and (before is None or now.number != before.number):
            self.accounts.emit(BestChanged(trial=now))
        self.clear_files()
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
        """Ten times what the longest way between two reports should take, by the trial's own speed if that is known."""
        trial = self.study.trial(number)
        steps = self.study.assignment(number).report_at
        gap = max(end - start for start, end in zip((0, *steps), steps, strict=False))
        if trial.step:
            return patience(trial.device_seconds / trial.step * gap * self._at_a_time())
        foreseen = Costs(self.study.trials()).until(self._plan_of(trial), gap)
        return patience(None if foreseen is None else foreseen * self._at_a_time(more=1))

    def tick(self) -> None:
        """Books time; says about once a second how the budget stands."""
        self.accounts.tick(self._standing)

    # --- what the driver needs ---------------------------------------------------------------------------------

    def interrupt(self) -> None:
        """No trial starts from now on, and those that run stop at their next report."""
        self.interrupted = True
        self.end_reason = INTERRUPTED

    def stop_running(self) -> None:
        """Tells the trials that still run that the search has ended."""
        for number in self.study.running:
            self.ended(number, Outcome(state="pruned", reason=INTERRUPTED if self.interrupted else BUDGET))
        self._owed.clear()

    def best(self) -> TrialRecord | None:
        """The finished trial of the highest score."""
        return best(self.study.trials())

    def costs(self) -> Costs:
        """What trials take, as far as is known."""
        return Costs(self.study.trials(), packed=True)

    def spent(self) -> Spent:
        """What the search has used up."""
        return self.accounts.spent(sum(trial.counts for trial in self.study.trials()))

    def checkpoints(self) -> set[int | None]:
        """The trials whose checkpoints are kept: those that run, what they go on with, and some that may yet go on."""
        trials, running = self.study.trials(), self.study.running
        return {*self._may_go_on(trials), *running, *(trials[number].continues for number in running)}

    def clear_files(self) -> None:
        """Removes weights of trials off the front, checkpoints that nothing will go on from, and half-written files."""
        if self.folder is None:
            return
        trials = self.study.trials()
        running = set(self.study.running)
        weights = {trial.number for trial in front(trials)} | running
        checkpoints = self.checkpoints()
        for folder in (self.folder / "trials").glob("*"):
            if not folder.name.isdigit():
                continue
            number = int(folder.name)
            kept = {WEIGHTS: number in weights, CHECKPOINT: number in checkpoints}
            for file in folder.iterdir():
                if not kept.get(file.name, number in running or not file.name.endswith(".tmp")):
                    file.unlink(missing_ok=True)
            if number not in running and not any(folder.iterdir()):  # a worker may be about to write into its own
                folder.rmdir()

    # --- inside ------------------------------------------------------------------------------------------------

    def _owed_to(self, beside: int, room: bool) -> int | None:
        """A trial that was asked for before and is to go on here.

        One under which a worker died goes on alone, to see whose fault it was. The only worker takes all others at
        once: those that went together before a kill do so again, so that all goes on in the same order.
        """
        fit = [number for number in self._owed if not (beside and self.study.trial(number).lost)]
        return fit[0] if fit and (room or self.workers == 1) else None

    def _may_join(self, beside: int) -> bool:
        """Whether a new trial may start beside others: not before these are where they were when the search was killed,
        not where three were too long for what is left, and not at the cost of a worker that would have none."""
        trials = self.study.trials()
        back = all(self._heard.get(number, 0) >= trials[number].step for number in self._running)
        left = self.accounts.search_budget.trials_left(self.spent()) + len(self._running)
        return back and not self._unfit and (self.workers == 1 or beside < left / self.workers)

    def _at_a_time(self, *, more: int = 0) -> float:
        """Trials that a worker trains at a time, with so many more."""
        return max(1.0, (len(self._running) + more) / self.workers)

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
        seconds = self.accounts.search_budget.seconds_left(self.spent())
        limits = {
            "seconds": None if seconds == math.inf else max(0.0, seconds),
            "entered": assignment.entered if self.workers == 1 else None,  # of several, each has a clock of its own
        }
        order = Order(
            assignment=assignment.model_copy(update=limits),
            folder=self._trial_folder(number),
            start=self._start_from(trial),
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

    def _trial_folder(self, number: int) -> Path:
        """A full path, as a worker may stand in another folder."""
        return trial_folder((self.folder or Path()).absolute(), number)

    def _start_from(self, trial: TrialRecord) -> Path | None:
        """The checkpoint to go on from: the trial's own, or that of the one it continues."""
        numbers = [trial.number] if trial.continues is None else [trial.number, trial.continues]
        files = [self._trial_folder(number) / CHECKPOINT for number in numbers]
        return next((file for file in files if file.exists()), None)

    def _tell(self, number: int, report: Report) -> None:
        self.accounts.emit(
            TrialReported(
                number=number,
                step=report.step,
                steps=self._plan_of(self.study.trial(number)).steps,
                score=report.score,
                train_loss=report.train_loss,
            )
        )

    def _refuse(self, assignment: Assignment) -> None:
        needed = self.costs().seconds(assignment.candidate.training) or 0.0
        reason = f"{BUDGET}: it would take about {needed:.0f} s"
        trial = self.study.tell(assignment.number, Outcome(state="pruned", reason=reason))
        self.accounts.emit(TrialEnded(trial=trial))

    @staticmethod
    def _plan_of(trial: TrialRecord) -> Training:
        assert trial.candidate is not None
        return trial.candidate.training

    def _exhausted(self) -> bool:
        return self.accounts.search_budget.seconds_left(self.spent()) <= 0

    def _rest_fits(self, trial: TrialRecord) -> bool:
        """Whether what a trial has yet to do fits what is left."""
        plan = self._plan_of(trial)
        return self._fits(self.costs().until(plan, plan.steps, since=trial.step))

    def _next_rung_fits(self, number: int, report: Report) -> bool:
        """Whether a running trial may go on to its next report."""
        plan = self._plan_of(self.study.trial(number))
        following = next(step for step in self.study.assignment(number).report_at if step > report.step)
        rate = report.held_seconds / report.step
        spent, budget = self.spent(), self.accounts.search_budget
        needed = rate * min(following - report.step, plan.steps)
        wall, others = needed * self._at_a_time(), self._committed(but=number)
        return wall <= budget.wall_left(spent) and needed + others <= budget.device_left(spent)

    def _fits(self, seconds: float | None) -> bool:
        """Whether a trial that takes so long will finish in what is left after the trials that run already."""
        spent, budget = self.spent(), self.accounts.search_budget
        if seconds is None:
            return True
        left, wall = budget.device_left(spent), seconds * self._at_a_time(more=1)
        return wall <= budget.wall_left(spent) and (left == math.inf or seconds + self._committed() <= left)

    def _committed(self, *, but: int | None = None) -> float:
        """Device-seconds that running trials still need to their ends, one perhaps left out."""
        trials, costs = self.study.trials(), self.costs()
        plans = {number: self._plan_of(trials[number]) for number in self._running if number != but}
        return sum(costs.until(plan, plan.steps, since=trials[n].step) or 0.0 for n, plan in plans.items())

    def _may_go_on(self, trials: list[TrialRecord]) -> set[int]:
        """Stopped trials whose checkpoints are kept: those cut short, and the best of the others."""
        gone_on = {trial.continues for trial in trials}
        stopped = [t for t in trials if t.state == "pruned" and t.step and t.number not in gone_on]
        stopped.sort(key=lambda t: (t.reason in CUT_SHORT, t.score or 0.0, t.step), reverse=True)
        return {trial.number for trial in stopped[:CHECKPOINTS_KEPT]}

    def _standing(self) -> tuple[Spent, float | None]:
        spent = self.spent()
        trials = [trial.held_seconds for trial in self.study.trials() if trial.state in ("complete", "pruned")]
        a_trial = sum(trials) / len(trials) if trials else math.inf
        budget = self.accounts.search_budget
        left = min(
            budget.wall_left(spent),
            budget.device_left(spent) / self.workers,
            budget.trials_left(spent) * a_trial / self.workers if budget.trials else math.inf,
        )
        return spent, None if left == math.inf else max(0.0, left)
