"""How much better one is than another on test: over training seeds, and over the rows that test happens to hold.

Seeds: paired t at equal seeds, the spread moderated (``select.gap``). Rows: a delete-a-group jackknife of the mean
difference over seeds (Kott 2001), which serves any metric at the price of GROUPS scorings a run, where a bootstrap as
good would take hundreds. The two variances add up; the part that rows and seeds have in common is counted in both, so
that the joint interval errs on the wide side.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from autodelta.frozen import Frozen
from autodelta.search.answer.posterior import seed_spread
from autodelta.search.answer.results import Confirmed, of, scores, shared
from autodelta.search.answer.select import Gap, gap
from autodelta.search.answer.variance import Interval, Spread, below, quantile, total

GROUPS = 40
Metric = Callable[[Sequence[str], Sequence[str]], float]  # gold and predicted labels


class Difference(Frozen):
    """The winner's test score less that of something it is held against."""

    against: str
    mean: float
    other: float  # the other's test score, a mean over the same seeds
    seeds: int
    over_seeds: Interval | None  # the same rows, other seeds; None for one seed and nothing to judge it by
    over_rows: Interval | None  # other rows and other seeds; None without predictions
    p_better: float | None  # one-sided, by the widest interval there is: the chance of such a lead if there were none

    @property
    def interval(self) -> Interval | None:
        """The widest one that there is."""
        return self.over_rows or self.over_seeds

    @property
    def better(self) -> bool:
        """Whether the winner is better beyond noise."""
        return self.interval is not None and self.interval.low > 0

    @property
    def worse(self) -> bool:
        return self.interval is not None and self.interval.high < 0


class Judge:
    """Scores of resampled test rows, each taken once; what is compared shares them, and so is paired by row."""

    def __init__(self, gold: Sequence[str], metric: Metric, *, seed: int = 0) -> None:
        self.gold = list(gold)
        self._metric = metric
        places = np.random.default_rng(seed).permutation(len(self.gold))
        groups = np.array_split(places, min(GROUPS, len(self.gold))) if len(self.gold) > 1 else []
        self._kept = [np.setdiff1d(places, group) for group in groups]
        self._known: dict[tuple[str, ...], np.ndarray] = {}

    def score(self, predictions: Sequence[str]) -> float:
        """On all rows."""
        return self._metric(self.gold, predictions)

    def left_out(self, predictions: Sequence[str]) -> np.ndarray:
        """(groups,) the score without each group of rows."""
        key = tuple(predictions)
        if key not in self._known:
            parts = [self._metric([self.gold[i] for i in kept], [key[i] for i in kept]) for kept in self._kept]
            self._known[key] = np.array(parts)
        return self._known[key]

    def row_variance(self, first: Sequence[Sequence[str]], second: Sequence[Sequence[str]]) -> float:
        """Of the difference between two means over seeds, were there other rows."""
        means = [np.mean([self.left_out(one) for one in runs], axis=0) for runs in (first, second)]
        apart = means[0] - means[1]
        groups = len(apart)
        return float((groups - 1) / groups * ((apart - apart.mean()) ** 2).sum()) if groups > 1 else 0.0

    def row_spread(self, first: Sequence[Sequence[str]], second: Sequence[Sequence[str]]) -> Spread:
        """The same as a standard deviation; of few rows there are few groups, and it is known less well."""
        return Spread(sd=math.sqrt(self.row_variance(first, second)), dof=max(1, len(self._kept) - 1))


def against_entrant(
    results: Sequence[Confirmed], winner: str, other: str, *, name: str, judge: Judge | None, level: float
) -> Difference | None:
    """The winner against another entrant at equal seeds; None where they share no seed on test."""
    found = gap(results, winner, other, split="test")
    if found is None:
        return None
    predicted = [{run.seed_index: run.predictions for run in of(results, one)} for one in (winner, other)]
    tested = [{run.seed_index: run.test for run in of(results, one) if run.test is not None} for one in (winner, other)]
    seeds = shared(tested)
    ours, theirs = ([column[seed] for seed in seeds] for column in predicted)
    rows = None
    if judge is not None and None not in ours and None not in theirs:
        rows = judge.row_spread([p for p in ours if p is not None], [p for p in theirs if p is not None])
    return _difference(name, found, float(np.mean([tested[1][seed] for seed in seeds])), rows, level)


def against_fixed(
    results: Sequence[Confirmed], entrant: str, predictions: Sequence[str], *, name: str, judge: Judge, level: float
) -> Difference | None:
    """An entrant against predictions that depend on no seed; None where it has no score on test."""
    own = scores(results, entrant, "test")
    if not own:
        return None
    other = judge.score(predictions)
    runs = [run.predictions for run in of(results, entrant) if run.predictions is not None]
    found = Gap(
        mean=float(np.mean(list(own.values()))) - other,
        spread=seed_spread(results, entrant, split="test"),
        seeds=len(own),
    )
    rows = judge.row_spread(runs, [predictions]) if runs else None
    return _difference(name, found, other, rows, level)


def _difference(name: str, found: Gap, other: float, rows: Spread | None, level: float) -> Difference:
    over_seeds = found.interval(level)
    error, dof = found.error, found.spread.dof
    joint = None
    if rows is not None and over_seeds is not None:
        both = total(Spread(sd=error, dof=dof), rows)
        # The sum of both is better known than a spread of two seeds alone, so that the smaller error may reach further.
        error, dof = max((error, dof), (both.sd, both.dof), key=lambda known: _reach(*known, level=level))
        reach = _reach(error, dof, level=level)
        joint = Interval(low=found.mean - reach, high=found.mean + reach)
    p = None
    if over_seeds is not None:
        p = 1 - below(found.mean / error, dof) if error else float(found.mean <= 0)
    return Difference(
        against=name,
        mean=found.mean,
        other=other,
        seeds=found.seeds,
        over_seeds=over_seeds,
        over_rows=joint,
        p_better=p,
    )


def _reach(error: float, dof: float, *, level: float) -> float:
    """Half the width of an interval."""
    return quantile((1 + level) / 2, dof) * error
