"""Notices a trial that hangs, by its own speed so far; and the clock by which trials are timed."""

import statistics
from time import monotonic

from autodelta.engine.failures import Stalled

TIMES = 30  # so many times the median of the trial's own steps, or evaluations, is no longer that of a busy machine
LEAST_SECONDS = 60.0


def now() -> float:
    """Seconds on a clock that never goes back."""
    return monotonic()


class Pace:
    """How long the steps and the evaluations of a trial take."""

    def __init__(self) -> None:
        self._seconds: dict[str, list[float]] = {"step": [], "evaluation": []}

    def note(self, what: str, step: int, seconds: float) -> None:
        """A step, or the evaluation at a step, is over.

        Raises:
            Stalled: it took more than a minute and 30 times the median of those before it.
        """
        before = self._seconds[what]
        if seconds > LEAST_SECONDS and before and seconds > TIMES * statistics.median(before):
            raise Stalled(step, seconds, what)
        before.append(seconds)
