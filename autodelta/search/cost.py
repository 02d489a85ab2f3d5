"""What a trial will cost, foreseen from the trials so far."""

from collections.abc import Iterable, Sequence

import numpy as np

from autodelta.candidate import Training
from autodelta.search.records import TrialRecord

QUANTILE = 0.8  # dearer than most: starting a trial that cannot finish wastes all that it costs


class Costs:
    """Device-seconds that training plans take, measured on the trials that have come as far as a report."""

    def __init__(self, trials: Iterable[TrialRecord]) -> None:
        self._plans: set[Training] = set()
        self._rates: list[tuple[float, int]] = []  # seconds a step, batch size
        for trial in trials:
            if trial.candidate is not None and trial.step > 0:
                plan = trial.candidate.training
                self._plans.add(plan)
                self._rates.append((trial.device_seconds / trial.step, plan.batch_size))

    def seconds(self, plan: Training) -> float | None:
        """What a plan will take; None while nothing is measured.

        Seconds a step of trials with the same batch size, where there are any; else seconds a row.
        """
        if not self._rates:
            return None
        alike = [rate for rate, batch_size in self._rates if batch_size == plan.batch_size]
        if alike:
            return plan.steps * _high(alike)
        return plan.steps * plan.batch_size * _high([rate / batch_size for rate, batch_size in self._rates])

    def until(self, plan: Training, step: int, *, since: int = 0) -> float | None:
        """What the steps of a plan from ``since`` to ``step`` will take; None while nothing is measured."""
        whole = self.seconds(plan)
        return None if whole is None else whole * (step - since) / plan.steps

    def cheapest(self) -> float | None:
        """What the cheapest plan so far will take."""
        return min((seconds for plan in self._plans if (seconds := self.seconds(plan)) is not None), default=None)


def _high(values: Sequence[float]) -> float:
    return float(np.quantile(values, QUANTILE))
