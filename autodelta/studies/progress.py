"""How far a collection is, and what the rest will cost, in a line about once a minute."""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from autodelta.meta.records import Record
from autodelta.studies.backlog import Backlog
from autodelta.studies.design import Trial

SAY_SECONDS = 60.0

Say = Callable[[str], None]


class Progress:
    """Says how far a collection is."""

    def __init__(self, backlog: Backlog, totals: Mapping[str, int], *, say: Say) -> None:
        self._backlog, self._totals, self._say = backlog, totals, say
        self._said = time.monotonic()

    def tick(self, records: Collection[Record]) -> None:
        """A line, if the last one was a minute ago."""
        if time.monotonic() - self._said >= SAY_SECONDS:
            self.line(records)

    def line(self, records: Collection[Record]) -> None:
        """How many trials are recorded, how they ended, and the time that they took and will take."""
        self._said = time.monotonic()
        states = Counter(record.state for record in records)
        done = [1 - len(left) / max(1, self._totals[task]) for task, left in self._backlog.left.items()]
        rest = predicted_seconds(self._backlog.left, records)
        seconds = sum(record.device_seconds for record in records)
        self._say(
            f"{len(records)} trials recorded ({states['failed']} failed, {states['infeasible']} infeasible), "
            f"{len(self._backlog)} of {sum(self._totals.values())} to start; tasks at {min(done):.0%} to "
            f"{max(done):.0%}; {hours(seconds)} so far" + ("" if rest is None else f", about {hours(rest)} to come")
        )


def hours(seconds: float) -> str:
    """Device-seconds as a reader takes them."""
    return f"{seconds / 3600:.1f} device-h" if seconds >= 3600 else f"{seconds / 60:.1f} device-min"


def predicted_seconds(left: Mapping[str, Sequence[Trial]], records: Iterable[Record]) -> float | None:
    """Device-seconds of trials that are left, by the seconds a step of those that are done; None without any.

    A task without a trial so far is taken to be like the others.
    """
    seconds: defaultdict[str | None, float] = defaultdict(float)
    steps: defaultdict[str | None, int] = defaultdict(int)
    for record in records:
        if record.state == "complete":
            for task in (record.task, None):
                seconds[task] += record.device_seconds
                steps[task] += record.candidate.training.steps
    if not steps:
        return None
    rates = {task: seconds[task] / steps[task] for task in steps}
    return sum(
        rates.get(task, rates[None]) * trial.candidate.training.steps for task, found in left.items() for trial in found
    )
