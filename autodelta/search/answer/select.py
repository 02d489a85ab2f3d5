"""Who wins, and who ties with the winner.

The winner is the confirmed finalist of the highest posterior mean on validation. The *tie set* are those whose paired
difference to it is within noise, so that the best of the finalists that were raced is in the set with the stated
probability (Hsu 1984, multiple comparisons with the best; here with Holm's correction, which needs no tables).
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from autodelta.frozen import Frozen
from autodelta.search.answer.entrants import Entrant
from autodelta.search.answer.posterior import highest, seed_spread
from autodelta.search.answer.results import Confirmed, Split, failure, scores, shared
from autodelta.search.answer.variance import Interval, Spread, below, pooled, pulled, quantile, total

LEVEL = 0.9
TELLING = 3  # seeds that a finalist shares with the winner, so that the two can be said to tie
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


def contenders(entrants: Sequence[Entrant], results: Sequence[Confirmed]) -> list[Entrant]:
    """The finalists that have a score on validation, and none of whose runs broke down."""
    return [
        entrant
        for entrant in entrants
        if entrant.kind == "finalist" and scores(results, entrant.name) and failure(results, entrant.name) is None
    ]


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

    Who shares fewer than TELLING seeds with the winner was left on the way, or not come to yet; it is not said to tie.
    """
    raced = contenders(entrants, results)
    best = highest(raced, results)
    if best is None:
        return None
    behind = worse(best.name, [one.name for one in raced], results, level=level)
    seeds = {one.name: len(shared([scores(results, one.name), scores(results, best.name)])) for one in raced}
    tied = [one for one in raced if one == best or (one.name not in behind and seeds[one.name] >= TELLING)]
    tied.sort(key=lambda one: (one.parameters, one != best))
    return Choice(winner=best.name, tied=tuple(one.name for one in tied), export=tied[0].name)
