"""The grid: every candidate of a finite space, round by round of seeds."""

from collections import Counter
from collections.abc import Callable, Sequence

import optuna

from autodelta.candidate import Candidate
from autodelta.search.records import TrialRecord
from autodelta.space import Space

Plan = Callable[[optuna.Study, int], Candidate | None]  # the next candidate, from the study so far and a seed


def grid(space: Space, repeats: int, trials: Callable[[], Sequence[TrialRecord]]) -> Plan:
    """The grid's first candidate among those asked least often; None when all have their repeats."""
    cells = tuple(dict.fromkeys(space.grid()))

    def next_cell(study: optuna.Study, seed: int) -> Candidate | None:
        asked = Counter(trial.candidate for trial in trials() if trial.counts)
        for repeat in range(repeats):
            for candidate in cells:
                if asked[candidate] <= repeat:
                    return candidate
        return None

    return next_cell
