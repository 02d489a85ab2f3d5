"""Who wins, who ties with the winner, and by how much each could still be wrong: from the confirmation runs alone.

The winner is the finalist of the highest mean validation score over the seeds that the finalists share. The *tie set*
are those whose paired difference to it is within noise, so that the best of the finalists is in the set with the stated
probability (Hsu 1984, multiple comparisons with the best; here with Holm's correction, which needs no tables).
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from autodelta.frozen import Frozen
from autodelta.search.answer.entrants import Entrant
from autodelta.search.answer.results import Confirmed, Split, failure, scores, shared
from autodelta.search.answer.variance import (
    NOTHING,
    Interval,
    Spread,
    below,
    moderated,
    pooled,
    pulled,
    quantile,
    total,
)

LEVEL = 0.9
DRAWS = 20_000
PRIOR_OF_PAIRS = 2  # degrees of freedom: the two's own scores say it, and they are in the differences already


class Choice(Frozen):
    """The winner, all that tie with it (the winner too, the smallest first), and the one to export."""

    winner: str
    tied: tuple[str, ...]
    export: str


class Gap(NamedTuple):
    """The paired difference of two entrants over the seeds that they share: first less second."""

    mean: float
    spread: Spread  # of one difference
    seeds: int

    @property
    def error(self) -> float:
        return self.spread.sd / math.sqrt(self.seeds)

    def interval(self, level: float) -> Interval | None:
        """Where the true difference over seeds lies; None while the spread is unknown."""
        if not self.spread.dof:
            return None
        reach = quantile((1 + level) / 2, self.spread.dof) * self.error
        return Interval(low=self.mean - reach, high=self.mean + reach)


def seed_spread(results: Sequence[Confirmed], entrant: str, *, split: Split) -> Spread:
    """The standard deviation between seeds of an entrant, by its own, those of all the others, and what was recorded
    elsewhere. Of one seed alone nothing is said.
    """
    spreads = {run.entrant: pooled([list(scores(results, run.entrant, split).values())]) for run in results}
    own = spreads.pop(entrant, NOTHING)
    return moderated(own, spreads.values())


def gap(results: Sequence[Confirmed], first: str, second: str, *, split: Split) -> Gap | None:
    """How much better the first is than the second, at equal seeds; None where they share no seed.

    The spread of the difference is pulled towards what the two would have if their runs were not paired: the pairing
    may only make it smaller.
    """
    ours, theirs = scores(results, first, split), scores(results, second, split)
    seeds = shared([ours, theirs])
    if not seeds:
        return None
    differences = [ours[seed] - theirs[seed] for seed in seeds]
    spread = pulled(pooled([differences]), _unpaired(results, first, second, split=split), prior=PRIOR_OF_PAIRS)
    return Gap(mean=float(np.mean(differences)), spread=spread, seeds=len(seeds))


def _unpaired(results: Sequence[Confirmed], first: str, second: str, *, split: Split) -> Spread:
    """Of the difference of two entrants' scores at one seed, were they not paired."""
    return total(seed_spread(results, first, split=split), seed_spread(results, second, split=split))


def contenders(entrants: Sequence[Entrant], results: Sequence[Confirmed]) -> list[str]:
    """The finalists that have a score on validation, and none of whose runs broke down."""
    return [
        entrant.name
        for entrant in entrants
        if entrant.kind == "finalist" and scores(results, entrant.name) and failure(results, entrant.name) is None
    ]


def leader(names: Sequence[str], results: Sequence[Confirmed]) -> str:
    """The one with the highest mean on validation: over the seeds that all share who were not left behind.

    Those left behind in the race have fewer seeds than the others; they are compared with the best of the others at the
    seeds that they have.
    """
    columns = {name: scores(results, name) for name in names}
    most = max(map(len, columns.values()))
    ahead = [name for name in names if len(columns[name]) == most]
    best = _highest(ahead, columns)
    for name in names:
        if name not in ahead:
            best = _highest([best, name], columns)
    return best


def _highest(names: Sequence[str], columns: Mapping[str, dict[int, float]]) -> str:
    """Of equals the first."""
    seeds = shared([columns[name] for name in names])
    return max(names, key=lambda name: float(np.mean([columns[name][seed] for seed in seeds]))) if seeds else names[0]


def worse(best: str, names: Sequence[str], results: Sequence[Confirmed], *, level: float) -> set[str]:
    """Those significantly below the leader on validation: one-sided paired t, Holm over all of them."""
    p_values: dict[str, float] = {}
    for name in names:
        found = None if name == best else gap(results, name, best, split="validation")
        if found is None or found.seeds < 2:
            continue
        if found.error == 0:
            p_values[name] = 0.0 if found.mean < 0 else 1.0
        else:
            p_values[name] = below(found.mean / found.error, found.spread.dof)
    return rejected(p_values, alpha=1 - level)


def rejected(p_values: Mapping[str, float], *, alpha: float) -> set[str]:
    """Holm 1979: the hypotheses that fall, with at most a chance of ``alpha`` that a true one is among them."""
    found: set[str] = set()
    for rank, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        if p_values[name] > alpha / (len(p_values) - rank):
            break
        found.add(name)
    return found


def choose(entrants: Sequence[Entrant], results: Sequence[Confirmed], *, level: float = LEVEL) -> Choice | None:
    """The winner and the tie set; None while no finalist was confirmed.

    With one seed each nothing can be told apart: then there is no tie set but the winner, which is exported.
    """
    names = contenders(entrants, results)
    if not names:
        return None
    sizes = {entrant.name: entrant.parameters for entrant in entrants}
    best = leader(names, results)
    behind = worse(best, names, results, level=level)
    seeds = {name: len(shared([scores(results, name), scores(results, best)])) for name in names}
    tied = [name for name in names if name == best or (name not in behind and seeds[name] > 1)]
    tied.sort(key=lambda name: (sizes[name], name != best))
    return Choice(winner=best, tied=tuple(tied), export=tied[0])


def expected_regret(
    entrants: Sequence[Entrant], results: Sequence[Confirmed], winner: str, *, row_variance: float
) -> float | None:
    """How much score is given up, on average over what is still possible, by taking the winner instead of the finalist
    that is truly best; finalists that were not confirmed count with what the search says of them.

    The posterior of a finalist's true score is normal: what the search expects, and the mean of its fresh seeds,
    each with its variance (between seeds over their number, and that of the rows of validation). ``row_variance`` is
    the variance of a score over the rows of validation; candidates err on much the same rows, so half of it sets them
    apart.
    """
    posteriors = {
        entrant.name: _posterior(entrant, results, row_variance / 2)
        for entrant in entrants
        if entrant.kind == "finalist" and entrant.expected is not None and failure(results, entrant.name) is None
    }
    if winner not in posteriors or len(posteriors) < 2:
        return None
    normal = np.random.default_rng(0).standard_normal((DRAWS, len(posteriors)))
    means, sds = np.array(list(posteriors.values())).T
    draws = means + sds * normal
    return float(np.mean(draws.max(axis=1) - draws[:, list(posteriors).index(winner)]))


def _posterior(entrant: Entrant, results: Sequence[Confirmed], row_variance: float) -> tuple[float, float]:
    """Mean and standard deviation of a finalist's true score."""
    assert entrant.expected is not None
    fresh = list(scores(results, entrant.name).values())
    spread = seed_spread(results, entrant.name, split="validation")
    if not fresh or not spread.dof:
        return entrant.expected, entrant.expected_sd
    noise = spread.sd**2 / len(fresh) + row_variance
    if entrant.expected_sd**2 + noise == 0:
        return entrant.expected, 0.0
    weight = entrant.expected_sd**2 / (entrant.expected_sd**2 + noise)
    mean = entrant.expected + weight * (float(np.mean(fresh)) - entrant.expected)
    return mean, math.sqrt(weight * noise)
