"""How much a score varies from seed to seed, when each of several candidates has a few seeds only.

Five seeds say little about a standard deviation; and candidates of one task scatter unlike, so that the others say
little of it, too. Each gives a variance s^2 with d degrees of freedom, and all are read together, in a model that
recorded trials bear out (`benchmarks/seed_spread.py`):

    log sigma_task ~ N(log 0.02, 0.75^2),  log sigma ~ N(log sigma_task, 1),  d s^2 / sigma^2 ~ chi^2_d.

On the logarithm one that scatters wildly counts for no more than one that is as much too steady, and what is far from
a candidate's own seeds moves it the less, the more of these there are. The posterior of a candidate's log sigma^2 is
handed on as the scaled inverse chi^2 of the same mean and variance, that is as a standard deviation s~ and degrees of
freedom nu for Student's t (as in Smyth 2004, limma, section 6.2):

    Var[log sigma^2] = psi'(nu / 2),  E[log sigma^2] = log s~^2 + log(nu / 2) - psi(nu / 2).

Departure from limma: the model's numbers are not estimated from the candidates at hand, of whom there are too few.
"""

import math
from collections.abc import Iterable, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from scipy.special import digamma, zeta

from autodelta.frozen import Frozen

LEAST = 1e-8  # of a variance: seeds that agree to a hundredth of a point
GRID = np.arange(math.log(1e-9), math.log(10.0), 0.1)  # of log sigma^2
ENOUGH = 8  # degrees of freedom: who has them is judged by them alone where spreads are pulled

Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


class Spread(Frozen):
    """A standard deviation between seeds, and how well it is known."""

    sd: float
    dof: float


class Model(NamedTuple):
    """How much seeds scatter before any was seen, in any task's metric."""

    typical: float  # standard deviation between seeds
    of_tasks: float  # standard deviations of its logarithm: from task to task,
    of_candidates: float  # and within a task


RECORDED = Model(typical=0.02, of_tasks=0.75, of_candidates=1.0)
NOTHING = Spread(sd=0.0, dof=0)


class Interval(Frozen):
    """From low to high."""

    low: float
    high: float

    @property
    def width(self) -> float:
        return self.high - self.low


def pooled(samples: Iterable[Sequence[float]]) -> Spread:
    """The standard deviation within samples, each around its own mean; 0 degrees of freedom where there is none."""
    whole = [np.asarray(sample, dtype=float) for sample in samples if len(sample) > 1]
    dof = sum(len(sample) - 1 for sample in whole)
    squares = sum(float(((sample - sample.mean()) ** 2).sum()) for sample in whole)
    return Spread(sd=math.sqrt(squares / dof), dof=dof) if dof else NOTHING


def moderated(own: Spread, others: Iterable[Spread], *, model: Model = RECORDED) -> Spread:
    """A candidate's spread, from its own seeds and those of others. Where nobody has two, nothing is said."""
    told = [other for other in others if other.dof]
    if not own.dof and not told:
        return NOTHING
    of_task, of_candidates = _grids(model)
    for other in told:
        of_task = _shares(of_task * (of_candidates @ _likelihood(other)))
    found = _shares((of_task @ of_candidates) * _likelihood(own))
    mean = float(found @ GRID)
    return _inverse_chi_squared(mean, float(found @ (GRID - mean) ** 2))


def pulled(own: Spread, towards: Spread, *, prior: float) -> Spread:
    """A spread pulled towards another one, which counts as ``prior`` degrees of freedom and no more than brings the sum
    to ENOUGH (Smyth 2004, equation 5)."""
    weight = max(0.0, min(prior, towards.dof, ENOUGH - own.dof))
    dof = own.dof + weight
    if not dof:
        return NOTHING
    return Spread(sd=math.sqrt((own.dof * own.sd**2 + weight * towards.sd**2) / dof), dof=dof)


def total(first: Spread, second: Spread) -> Spread:
    """Of a sum of two, with the degrees of freedom of Welch and Satterthwaite."""
    if not first.dof or not second.dof:
        return NOTHING
    both, doubt = first.sd**2 + second.sd**2, first.sd**4 / first.dof + second.sd**4 / second.dof
    return Spread(sd=math.sqrt(both), dof=both**2 / doubt if doubt else math.inf)


@cache
def _grids(model: Model) -> tuple[Floats, Floats]:
    """How likely log variances are: a task's (grid,), and those of its candidates (grid, grid), one task a row."""
    of_task = np.exp(-0.5 * ((GRID - 2 * math.log(model.typical)) / (2 * model.of_tasks)) ** 2)
    of_candidates = np.exp(-0.5 * ((GRID[:, None] - GRID) / (2 * model.of_candidates)) ** 2)
    return _shares(of_task), of_candidates / of_candidates.sum(axis=1, keepdims=True)


def _likelihood(seen: Spread) -> Floats:
    """(grid,) of each log variance, the highest 1."""
    logs: Floats = -0.5 * seen.dof * (GRID + max(seen.sd**2, LEAST) * np.exp(-GRID))
    likelihood: Floats = np.exp(logs - logs.max())
    return likelihood


def _shares(weights: Floats) -> Floats:
    shares: Floats = weights / weights.sum()
    return shares


def _inverse_chi_squared(mean: float, variance: float) -> Spread:
    """The one whose logarithm has this mean and variance."""
    from scipy.optimize import brentq

    half = brentq(lambda half: zeta(2, half) - variance, 0.05, 1e4)  # of the degrees of freedom; psi' is zeta(2, .)
    return Spread(sd=math.exp((mean - math.log(half) + digamma(half)) / 2), dof=2 * half)


def quantile(share: float, dof: float) -> float:
    """Of Student's t: the value below which that share lies."""
    from scipy import stats

    return float(stats.t.ppf(share, dof))


def below(value: float, dof: float) -> float:
    """Of Student's t: the share that lies below a value."""
    from scipy import stats

    return float(stats.t.cdf(value, dof))


def prediction(values: Sequence[float], spread: Spread, *, level: float) -> Interval | None:
    """Where the score of one more seed will lie; None while nothing is known of the spread.

    mean -+ t(dof) s sqrt(1 + 1/n): the new seed varies, and so does the mean of those that were seen.
    """
    if not values or not spread.dof:
        return None
    centre = float(np.mean(values))
    reach = quantile((1 + level) / 2, spread.dof) * spread.sd * math.sqrt(1 + 1 / len(values))
    return Interval(low=centre - reach, high=centre + reach)
