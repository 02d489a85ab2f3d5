"""How much a score varies from seed to seed, when each of several candidates has a few seeds only.

Five seeds say little about a standard deviation, so it is moderated: a candidate's own variance s^2 with d degrees of
freedom is pulled towards the variance s0^2 that is typical of the others, which counts as d0 degrees of freedom,

    s~^2 = (d0 s0^2 + d s^2) / (d0 + d),    with d0 + d degrees of freedom,

as in Smyth 2004 (limma), equation 5. Departures: s0^2 is the geometric mean of variances without their bias
(``typical``), and d0 is not estimated, which a handful of candidates cannot bear, but is PRIOR, or what the others have
if that is less, and no more than brings the sum to ENOUGH: who has many seeds is judged by them alone. On recorded
tables the standard deviations of one task's candidates differ by factors, and with these two numbers two seeds and the
other candidates foretell a third as often as they should. Where hardly anything is known even so, as of two seeds of
one candidate, RECORDED helps out in the same way, up to FEW degrees of freedom (both: `benchmarks/seed_spread.py`).
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
from scipy.special import digamma

from autodelta.frozen import Frozen

PRIOR, ENOUGH = 2, 8
LEAST = 1e-8  # of a variance: seeds that agree to a hundredth of a point


class Spread(Frozen):
    """A standard deviation between seeds, and how well it is known."""

    sd: float
    dof: int


RECORDED, FEW = Spread(sd=0.02, dof=2), 4


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
    return Spread(sd=math.sqrt(squares / dof) if dof else 0.0, dof=dof)


def typical(samples: Iterable[Sequence[float]]) -> Spread:
    """The standard deviation within a sample as it is typical of samples that scatter unlike: the exponential of the
    mean log variance by degrees of freedom, each without the bias log(d / 2) - digamma(d / 2) of its logarithm, so that
    one that scatters wildly does not speak for all."""
    each = [one for one in (pooled([sample]) for sample in samples) if one.dof]
    dof = sum(one.dof for one in each)
    logs = (one.dof * (math.log(max(one.sd**2, LEAST)) + math.log(one.dof / 2) - digamma(one.dof / 2)) for one in each)
    return Spread(sd=math.exp(sum(logs) / dof / 2) if dof else 0.0, dof=dof)


def moderated(own: Spread, others: Spread, *, prior: int = PRIOR, enough: int = ENOUGH) -> Spread:
    """A candidate's own spread, pulled towards that of the others."""
    weight = max(0, min(prior, others.dof, enough - own.dof))
    dof = own.dof + weight
    if not dof:
        return Spread(sd=0.0, dof=0)
    return Spread(sd=math.sqrt((own.dof * own.sd**2 + weight * others.sd**2) / dof), dof=dof)


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
