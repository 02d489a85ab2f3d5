"""What a trial will cost, foreseen from the trials so far."""

from collections.abc import Iterable, Sequence

import numpy as np

from autodelta.candidate import Training
from autodelta.search.records import TrialRecord

QUANTILE = 0.8  # dearer than most: starting a trial that cannot finish wastes all that it costs


class Costs:
    """Device-seconds that training plans take, measured on the trials that have come as far as a report.

    ``packed``: with others, as these trials were; else alone.
    """

    def __init__(self, trials: Iterable[TrialRecord], *, packed: bool = False) -> None:
        self._plans: set[tuple[int, int]] = set()  # steps, batch size
        self._rates: list[tuple[float, int]] = []  # seconds a step, batch size
        self._steps: dict[int, float] = {}  # seconds a step by batch size, once it is asked for
        alone = held = 0.0
        for trial in trials:
            if trial.candidate is not None and trial.step > 0:
                plan = trial.candidate.training
                self._plans.add((plan.steps, plan.batch_size))
                self._rates.append((trial.device_seconds / trial.step, plan.batch_size))
                alone, held = alone + trial.device_seconds, held + trial.held_seconds
        self._held = held / alone if packed and alone else 1.0  # seconds of a device for one alone

    def seconds(self, plan: Training) -> float | None:
        """What a plan will take; None while nothing is measured.

        Seconds a step of trials with the same batch size, where there are any; else seconds a row.
        """
        return plan.steps * self._a_step(plan.batch_size) if self._rates else None

    def _a_step(self, batch_size: int) -> float:
        if batch_size not in self._steps:
            alike = [rate for rate, size in self._rates if size == batch_size]
            a_row = [rate / size for rate, size in self._rates]
            self._steps[batch_size] = self._held * (_high(alike) if alike else batch_size * _high(a_row))
        return self._steps[batch_size]

    def until(self, plan: Training, step: int, *, since: int = 0) -> float | None:
        """What the steps of a plan from ``since`` to ``step`` will take; None while nothing is measured."""
        whole = self.seconds(plan)
        return None if whole is None else whole * (step - since) / plan.steps

    def cheapest(self, fewest_steps: int | None = None) -> float | None:
        """What the cheapest plan so far will take, with so few steps if they are named."""
        return min(
            ((fewest_steps or steps) * self._a_step(batch_size) for steps, batch_size in self._plans), default=None
        )


def _high(values: Sequence[float]) -> float:
    return float(np.quantile(values, QUANTILE))
