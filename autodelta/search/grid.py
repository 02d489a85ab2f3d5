"""Candidates that are named beforehand: the grid of a finite space, and what goes before a sampler's own."""

from collections import Counter
from collections.abc import Callable, Sequence

import optuna

from autodelta.candidate import Candidate
from autodelta.search.records import CUT_SHORT, TrialRecord
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


def ahead(space: Space, candidates: Sequence[Candidate], trials: Callable[[], Sequence[TrialRecord]]) -> Plan:
    """The first of these candidates that was not tried yet; None when all were. Those outside of the space are no
    trials of it, and passed over."""
    known = tuple(candidate for candidate in dict.fromkeys(candidates) if space.contains(candidate))

    def next_candidate(study: optuna.Study, seed: int) -> Candidate | None:
        # what does not fit the budget is not asked for again, what was cut short before its first report is
        tried = {trial.candidate for trial in trials() if trial.counts or trial.reason not in CUT_SHORT}
        return next((candidate for candidate in known if candidate not in tried), None)

    return next_candidate
