"""What is known of a finalist's true score, its mean over seeds: what the search expects, and fresh seeds.

The search's score is that of one seed, so that its expectation is as uncertain as a seed of this candidate, and more:
with the spread s between the candidate's seeds, n fresh ones of mean y, and an expectation m of standard deviation d,

    E[true] = (m / v + y n / s^2) / (1 / v + n / s^2),  Var[true] = 1 / (1 / v + n / s^2),  v = d^2 + s^2.

A candidate that turns out to scatter wildly is so believed the less for having had a lucky seed in the search.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from autodelta.search.answer.entrants import Entrant
from autodelta.search.answer.results import Confirmed, Split, failure, scores
from autodelta.search.answer.variance import NOTHING, RECORDED, Spread, moderated, pooled

DRAWS = 20_000


class Posterior(NamedTuple):
    """A normal belief."""

    mean: float
    sd: float


def seed_spread(results: Sequence[Confirmed], entrant: str, *, split: Split) -> Spread:
    """The standard deviation between seeds of an entrant, by its own, those of all the others, and what was recorded
    elsewhere. Of one seed alone nothing is said.
    """
    names = dict.fromkeys(run.entrant for run in results)
    spreads = {name: pooled([list(scores(results, name, split).values())]) for name in names}
    own = spreads.pop(entrant, NOTHING)
    return moderated(own, spreads.values())


def posterior(entrant: Entrant, results: Sequence[Confirmed], *, row_variance: float = 0.0) -> Posterior | None:
    """Of a finalist's true score on validation; None where there is neither an expectation nor a fresh seed.

    row_variance: by which a score on these rows is off that on all that there might be; 0 for these rows.
    """
    fresh = list(scores(results, entrant.name).values())
    spread = seed_spread(results, entrant.name, split="validation")
    of_seeds = (spread.sd if spread.dof else RECORDED.typical) ** 2
    told = []  # scores with their variances
    if entrant.expected is not None:
        told.append((entrant.expected, entrant.expected_sd**2 + of_seeds))
    if fresh:
        told.append((float(np.mean(fresh)), of_seeds / len(fresh) + row_variance))
    if not told:
        return None
    precision = sum(1 / variance for _, variance in told)
    return Posterior(sum(score / variance for score, variance in told) / precision, math.sqrt(1 / precision))


def highest(entrants: Sequence[Entrant], results: Sequence[Confirmed]) -> Entrant | None:
    """The one with the highest posterior mean, of equals the first; None where nothing is known of any."""
    means = {one.name: found.mean for one in entrants if (found := posterior(one, results)) is not None}
    return max((one for one in entrants if one.name in means), key=lambda one: means[one.name], default=None)


def chances(entrants: Sequence[Entrant], results: Sequence[Confirmed]) -> Mapping[str, float]:
    """How likely each of them is the best. While there are some of which nothing is known, 1 for these and 0 for all
    others."""
    found = {one.name: posterior(one, results) for one in entrants}
    known = [one for one in found.values() if one is not None]
    if len(known) < len(found) or not found:
        return {name: float(one is None) for name, one in found.items()}
    best = np.bincount(_drawn(known).argmax(axis=1), minlength=len(known)) / DRAWS
    return dict(zip(found, best.tolist(), strict=True))


def expected_regret(
    entrants: Sequence[Entrant], results: Sequence[Confirmed], winner: str, *, row_variance: float
) -> float | None:
    """How much score is given up, on average over what is still possible, by taking the winner instead of the finalist
    that is truly best; finalists that were not confirmed count with what the search says of them.

    ``row_variance`` is the variance of a score over the rows of validation; candidates err on much the same rows, so
    half of it sets them apart.
    """
    beliefs = {
        entrant.name: found
        for entrant in entrants
        if entrant.kind == "finalist"
        and entrant.expected is not None
        and failure(results, entrant.name) is None
        and (found := posterior(entrant, results, row_variance=row_variance / 2)) is not None
    }
    if winner not in beliefs or len(beliefs) < 2:
        return None
    draws = _drawn(list(beliefs.values()))
    return float(np.mean(draws.max(axis=1) - draws[:, list(beliefs).index(winner)]))


def _drawn(beliefs: Sequence[Posterior]) -> "np.ndarray":
    """(draws, beliefs) true scores that may be."""
    means, sds = np.array(beliefs).T
    drawn: np.ndarray = means + sds * np.random.default_rng(0).standard_normal((DRAWS, len(beliefs)))
    return drawn
