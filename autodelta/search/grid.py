"""Candidates that are named beforehand: the grid of a finite space, and what goes before a sampler's own."""

from collections import Counter
from collections.abc import Callable, Sequence

import optuna

from autodelta.candidate import Candidate
from autodelta.search.records import BUDGET, TrialRecord
from autodelta.space import Space

Plan = Callable[[optuna.Study, int], Candidate | None]  # the next candidate, from the study so far and a seed


def grid(space: Space, repeats: int, trials: Callable[[], Sequence[TrialRecord]]) -> Plan:
    """The grid's first candidate among those asked least often; None when all have their repeats.

    Once the budget could not hold one, those that train less come before all others, the shortest first. Another
    session, whose budget may be larger, begins anew.
    """
    cells = tuple(dict.fromkeys(space.grid()))
    began: int | None = None

    def next_cell(study: optuna.Study, seed: int) -> Candidate | None:
        nonlocal began
        found = trials()
        began = len(found) if began is None else began
        asked = Counter(trial.candidate for trial in found if trial.counts)
        left = (cell for repeat in range(repeats) for cell in cells if asked[cell] <= repeat)
        refused = [trial.candidate.training for trial in found[began:] if trial.refused and trial.candidate]
        if not refused:
            return next(left, None)

        def place(cell: Candidate) -> tuple[bool, int, int]:
            plan = cell.training
            longer = any(plan.steps >= other.steps and plan.batch_size >= other.batch_size for other in refused)
            return longer, asked[cell], plan.steps * plan.batch_size

        return min(left, key=place, default=None)

    return next_cell


def ahead(space: Space, candidates: Sequence[Candidate], trials: Callable[[], Sequence[TrialRecord]]) -> Plan:
    """The first of these candidates that was not tried yet; None when all were. Those outside of the space are no
    trials of it, and passed over."""
    known = tuple(candidate for candidate in dict.fromkeys(candidates) if space.contains(candidate))

    def next_candidate(study: optuna.Study, seed: int) -> Candidate | None:
        # what does not fit the budget is not asked for again, what was cut short before its first report is
        tried = {trial.candidate for trial in trials() if trial.counts or trial.reason != BUDGET}
        return next((candidate for candidate in known if candidate not in tried), None)

    return next_candidate
