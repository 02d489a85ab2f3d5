"""What a trial's score is worth, when it is one noisy look at a few hundred rows and the best of many was picked.

Empirical Bayes, with two levels. A score y is a true one plus noise of variance v; true scores lie around a centre that
belongs to the trial's composition of methods, with variance T^2:

    E[true | y] = m + T^2 / (T^2 + v) (y - m),    Var[true | y] = T^2 v / (T^2 + v).

Trials that failed to learn (a learning rate too high) say nothing about how far the good ones lie apart, so centre and
T^2 come from the upper side: m is the mean of the better half, T^2 the mean square of what lies above m, less v. A
composition's own centre is trusted with n / (n + TRUST). A candidate that was trained at several seeds has their mean;
v stays as it is, that of a finite number of validation rows, which are the same at every seed. Source: Efron and Morris
1975; the optimism of the best of many: Cawley and Talbot 2010.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from autodelta.search.records import TrialRecord
from autodelta.tasks.metrics import SIGNED

TRUST = 4
LEAST = 0.25  # of v: T^2 is no less, since no number of trials shows that true scores do not differ at all


class Belief(NamedTuple):
    """The score that a candidate has on the mean over seeds."""

    expected: float
    sd: float  # of the true one around it


class Shrunken(NamedTuple):
    """A candidate's trial (the first where there are several), with what its score is worth."""

    trial: TrialRecord
    seen: float
    expected: float
    sd: float  # of the true score around what is expected


def row_variance(score: float, rows: int, metric: str) -> float:
    """How much a score varies with the rows that happen to be in a split, about: binomial, or a correlation's."""
    if metric in SIGNED:
        return max(1 - score**2, 0.05) / rows
    share = min(max(score, 0.05), 0.95)
    return share * (1 - share) / rows


def shrunken(
    trials: Sequence[TrialRecord], *, rows: int, metric: str, believed: Mapping[str, Belief] | None = None
) -> list[Shrunken]:
    """Every candidate that was trained to its end, the highest expected score first.

    Args:
        rows: of validation.
        believed: what a meta-learner makes of each candidate, by its key, in place of the above; None or empty: there
            is none.
    """
    runs: dict[str, list[TrialRecord]] = defaultdict(list)
    for trial in trials:
        if trial.state == "complete" and trial.candidate is not None and trial.score is not None:
            runs[trial.candidate.key].append(trial)
    if not runs:
        return []
    firsts = [found[0] for found in runs.values()]
    seen = np.array([np.mean([trial.score for trial in found]) for found in runs.values()])
    beliefs = [believed[key] for key in runs] if believed else _by_composition(firsts, seen, rows, metric)
    found = [
        Shrunken(trial=trial, seen=float(y), expected=one.expected, sd=one.sd)
        for trial, y, one in zip(firsts, seen, beliefs, strict=True)
    ]
    return sorted(found, key=lambda one: (-one.expected, -one.seen, one.trial.parameters, one.trial.number))


def _by_composition(trials: Sequence[TrialRecord], seen: "np.ndarray", rows: int, metric: str) -> list[Belief]:
    """Empirical Bayes, as above."""
    noise = row_variance(_better_half(seen), rows, metric)
    centres = _centres([trial.methods for trial in trials], seen)
    squares = (seen - centres)[seen >= centres] ** 2  # none where all are equal, and rounding puts the centre above
    spread = max(LEAST * noise, (float(squares.mean()) if len(squares) else 0.0) - noise)
    weight = spread / (spread + noise)
    sd = math.sqrt(weight * noise)
    return [Belief(float(expected), sd) for expected in centres + weight * (seen - centres)]


def _centres(groups: Sequence[tuple[str, ...]], values: "np.ndarray") -> "np.ndarray":
    """Where the true scores of each value's group lie around."""
    overall = _better_half(values)
    members: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for group, value in zip(groups, values, strict=True):
        members[group].append(value)
    centre = {
        group: overall + len(found) / (len(found) + TRUST) * (_better_half(np.array(found)) - overall)
        for group, found in members.items()
    }
    return np.array([centre[group] for group in groups])


def _better_half(values: "np.ndarray") -> float:
    return float(np.mean(values[values >= np.median(values)]))
