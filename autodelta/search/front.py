"""The Pareto front over score (higher is better) and trainable parameters (fewer is better)."""

import math
from collections.abc import Iterable

from autodelta.search.records import TrialRecord


def front(trials: Iterable[TrialRecord]) -> list[TrialRecord]:
    """The finished trials that no other beats in one and equals in the other, from fewest parameters to most."""
    found: list[TrialRecord] = []
    best_score = -math.inf
    for trial in sorted(_finished(trials), key=_smallest_first):
        if _score(trial) > best_score:
            found.append(trial)
            best_score = _score(trial)
    return found


def best(trials: Iterable[TrialRecord]) -> TrialRecord | None:
    """The finished trial of the highest score; of equals the one with the fewest parameters, then the first."""
    return max(_finished(trials), key=lambda t: (_score(t), -t.parameters, -t.number), default=None)


def bar(trials: Iterable[TrialRecord], parameters: int) -> float:
    """The score that a trial of so many parameters must exceed to stand on the front."""
    return max((_score(trial) for trial in _finished(trials) if trial.parameters <= parameters), default=-math.inf)


def _finished(trials: Iterable[TrialRecord]) -> list[TrialRecord]:
    return [trial for trial in trials if trial.state == "complete" and trial.score is not None]


def _smallest_first(trial: TrialRecord) -> tuple[int, float, int]:
    return trial.parameters, -_score(trial), trial.number


def _score(trial: TrialRecord) -> float:
    return -math.inf if trial.score is None else trial.score
