"""Where trials that run will end, by what the meta-learner has seen of curves: a trial's first rungs inform its end.

Freeze-thaw (Swersky et al. 2014, arXiv 1406.3896): what is a candidate's own is shared by the points of its curve, the
less the further their rungs lie apart, and the posterior is conditioned on the points of all trials.
"""

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from autodelta.candidate import Candidate
from autodelta.errors import UserError
from autodelta.meta.problem import NoTransfer
from autodelta.search.front import best
from autodelta.search.records import TrialRecord, carried_on
from autodelta.search.samplers import Scene
from autodelta.search.transfer import fitted

if TYPE_CHECKING:
    from autodelta.meta.on_task import OnTask


class End(NamedTuple):
    """What is foretold of a trial's last score on validation."""

    score: float  # expected
    low: float  # of the 90 % interval
    high: float
    beats: float  # the chance that it lies above the best ended trial; 1 while none has ended


class Point(NamedTuple):
    """A score of a trial on its way, or at its end."""

    candidate: Candidate
    share: float  # of its steps done, at most 1
    score: float


def ends(known: Scene, trials: Sequence[TrialRecord], numbers: Iterable[int]) -> dict[int, End]:
    """What the trials of these numbers will come to, from their curves so far and those of all others.

    Args:
        known: the space, the task's features and the model.
        trials: all of the search.
        numbers: of trials with a candidate; those without a score yet are foretold from their candidate alone.

    Raises:
        NoTransfer, UserError: the scene has no model that fits.
    """
    from autodelta.meta.compositions import configurations

    asked = {trial.number: trial.candidate for trial in trials if trial.number in set(numbers) and trial.candidate}
    if not asked:
        return {}
    on = fitted(known).on(known.features)
    doubled = carried_on(trials)
    told = [point for trial in trials if trial.number not in doubled for point in points(trial)]
    if told:
        _observe(on, told, known)
    pool = configurations(asked.values(), known.space.shape)
    scores, (low, high) = on.predict(pool)[0], on.interval(pool)
    winner = best(trials)
    bar = winner.score if winner is not None else None
    beats = on.chance_above(pool, bar) if bar is not None else np.ones(len(asked))
    return {
        number: End(float(scores[row]), float(low[row]), float(high[row]), float(beats[row]))
        for row, number in enumerate(asked)
    }


def by_promise(known: Scene, trials: Sequence[TrialRecord], stopped: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Stopped trials, first the one whose end is likeliest to beat all that have ended, or is to be the best while none
    has; where the model has nothing to say, in the order in which they came."""
    try:
        if fitted(known).found.opening is None:
            return list(stopped)
        found = ends(known, trials, [trial.number for trial in stopped])
    except (NoTransfer, UserError):  # said when the search began
        return list(stopped)
    return sorted(stopped, key=lambda trial: (-found[trial.number].beats, -found[trial.number].score))


def points(trial: TrialRecord) -> list[Point]:
    """What a trial has shown: its curve up to now, none of a failed one."""
    if trial.candidate is None or trial.state in ("failed", "infeasible"):
        return []
    steps = trial.candidate.training.steps
    return [
        Point(trial.candidate, min(1.0, report.step / steps), report.score)
        for report in trial.curve
        if math.isfinite(report.score)
    ]


def _observe(on: "OnTask", told: Sequence[Point], known: Scene) -> None:
    from autodelta.meta.compositions import configurations
    from autodelta.meta.problem import Points

    shares, scores = np.array([point.share for point in told]), np.array([point.score for point in told])
    tried = configurations([point.candidate for point in told], known.space.shape)
    on.observe(tried, Points(np.arange(len(told)), shares, scores))
