"""What is left of a search's budget, and what of all that could be done still fits into it."""

import math
from collections.abc import Collection

from autodelta.candidate import Training
from autodelta.engine.report import Report
from autodelta.search.budget import Spent
from autodelta.search.cost import Costs
from autodelta.search.records import TrialRecord
from autodelta.search.study import Study
from autodelta.search.work import Accounts, patience


class Outlook:
    """Foresees by what the study's trials have taken so far.

    Args:
        running: the numbers of the trials under way, as they come and go.
    """

    def __init__(self, study: Study, accounts: Accounts, *, workers: int, running: Collection[int]) -> None:
        self._study = study
        self._accounts = accounts
        self._budget = accounts.search_budget
        self._workers = workers
        self._running = running

    def nothing_fits(self) -> bool:
        """Whether not even the cheapest trial that may yet be asked for will finish in what is left."""
        return not self.fits(self.costs().cheapest(self._study.fewest_steps))

    def plan_fits(self, plan: Training) -> bool:
        """Whether a trial that trains so will finish in what is left."""
        return self.fits(self.costs().seconds(plan))

    def costs(self) -> Costs:
        """What trials take, as far as is known."""
        return Costs(self._study.trials(), packed=True)

    def spent(self) -> Spent:
        """What the search has used up."""
        return self._accounts.spent(sum(trial.counts for trial in self._study.trials()))

    def seconds_left(self) -> float:
        """Until the first limit of time or of device time; infinite without one."""
        return self._budget.seconds_left(self.spent())

    def trials_left(self) -> float:
        """Trials that may still be counted."""
        return self._budget.trials_left(self.spent())

    def silence(self, number: int) -> float:
        """Ten times what the longest way between two reports should take, by the trial's own speed if that is known."""
        trial = self._study.trial(number)
        steps = self._study.assignment(number).report_at
        gap = max(end - start for start, end in zip((0, *steps), steps, strict=False))
        if trial.step:
            return patience(trial.device_seconds / trial.step * gap * self._at_a_time())
        foreseen = Costs(self._study.trials()).until(plan_of(trial), gap)
        return patience(None if foreseen is None else foreseen * self._at_a_time(more=1))

    def fits(self, seconds: float | None) -> bool:
        """Whether a trial that takes so long will finish in what is left after the trials that run already."""
        if seconds is None:
            return True
        spent = self.spent()
        left, wall = self._budget.device_left(spent), seconds * self._at_a_time(more=1)
        return wall <= self._budget.wall_left(spent) and (left == math.inf or seconds + self._committed() <= left)

    def rest_fits(self, trial: TrialRecord) -> bool:
        """Whether what a trial has yet to do fits what is left, by its own speed if that is known."""
        plan = plan_of(trial)
        if trial.step:
            return self.fits(trial.held_seconds / trial.step * (plan.steps - trial.step))
        return self.plan_fits(plan)

    def may_go_on(self, number: int, report: Report) -> bool:
        """Whether a running trial may go on to its next report: not where what is left does not reach so far, nor where
        it does not reach to the trial's end, but would hold a whole trial of fewer steps in its place."""
        steps = self._study.assignment(number).report_at
        following = next(step for step in steps if step > report.step)
        rate = report.held_seconds / report.step
        spent, others = self.spent(), self._committed(but=number)
        wall_left, device_left = self._budget.wall_left(spent), self._budget.device_left(spent) - others

        def fit(count: int) -> bool:
            return rate * count * self._at_a_time() <= wall_left and rate * count <= device_left

        fewest = self._study.fewest_steps
        futile = not fit(steps[-1] - report.step) and fewest is not None and fit(fewest)
        return fit(following - report.step) and not futile

    def standing(self) -> tuple[Spent, float | None]:
        """What is spent, and the seconds until the search ends, where that can be told."""
        spent = self.spent()
        left = min(
            self._budget.wall_left(spent),
            self._budget.device_left(spent) / self._workers,
            self._until_trials_are_out(spent) / self._workers if self._budget.trials else math.inf,
        )
        return spent, None if left == math.inf else max(0.0, left)

    def _until_trials_are_out(self, spent: Spent) -> float:
        """Device-seconds that those under way still need, and all that may yet start, as those took that have ended."""
        took = [t.held_seconds for t in self._study.trials() if t.state in ("complete", "pruned") and not t.refused]
        if not took:
            return math.inf
        return self._committed() + self._budget.trials_left(spent) * sum(took) / len(took)

    def _at_a_time(self, *, more: int = 0) -> float:
        """Trials that a worker trains at a time, with so many more."""
        return max(1.0, (len(self._running) + more) / self._workers)

    def _committed(self, *, but: int | None = None) -> float:
        """Device-seconds that running trials still need to their ends, one perhaps left out."""
        trials, costs = self._study.trials(), self.costs()
        plans = {number: plan_of(trials[number]) for number in self._running if number != but}
        return sum(costs.until(plan, plan.steps, since=trials[n].step) or 0.0 for n, plan in plans.items())


def plan_of(trial: TrialRecord) -> Training:
    """How a trial trains that was asked for."""
    assert trial.candidate is not None
    return trial.candidate.training
