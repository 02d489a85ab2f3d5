"""The arm without transfer: a Gaussian process on sets of tokens, averaged over length-scales by their evidence.

Two configurations are alike by the kinds of token they share, and by how near the values of these lie: Matern 5/2
(Rasmussen and Williams 2006, equation 4.17), summed over shared kinds, times one over the settings. Where parameters
are conditional it has four fifths of the regret of a Matern kernel on flat vectors after 25 trials (decision 0018).
Nothing in it comes from the scores of other tasks but the task's level (``autodelta.meta.level``), how noisy a score
is, where these have repeats, and how scores rise while a trial goes on.

A score on the way stands below that of the end by a share of the steps left, differently on each task; candidates
differ less there than at the end, and are ranked otherwise the earlier it is. A process that knew nothing of that would
take a trial that was stopped early for a bad one, and a past that knows it would be believed for this alone.
"""

from typing import Any, NamedTuple

import numpy as np

from autodelta.meta.problem import Configurations, Floats, Layout

LENGTHS = (0.25, 0.5, 1.0, 2.0, 4.0)  # in units of the median distance of two configurations
NOISE = 0.1  # standard deviation, where the scores have 1, at least
KINDS = 0.3  # share of the variance that is a kind's, whatever its values
MOST = 512  # configurations that the median distance is taken from
# Of scores on the way, at a share r of a trial's steps, in deviations of the ends (benchmarks/curves_of_tasks.py):
RISE, LAG = 0.85, 0.5  # they stand RISE (1 - r) below their end, LAG (1 - r) more or less on a task
POWER = 0.65  # candidates have a standard deviation of r to this power
REACH = 1.5  # how far, in the log of r, scores of one candidate go together


class Shared(NamedTuple):
    """Configurations that both have a token of one kind."""

    at: tuple[Any, ...]  # which of (left, right)
    weight: Floats
    distance: Floats


class Apart(NamedTuple):
    """How two groups of configurations lie to each other, at no length-scale yet."""

    kinds: Floats  # (left, right) the share of kinds that they have in common
    shared: tuple[Shared, ...]  # kind by kind
    settings: Floats  # (left, right) distances


class Along(NamedTuple):
    """What two groups of points owe to how far their trials had come, (left, right) each."""

    share: Floats  # of the covariance that they would have at the end
    lag: Floats  # covariance of the task's own rise

    @classmethod
    def of(cls, left: Floats, right: Floats) -> "Along":
        """From the logs of their rungs."""
        amplitude = np.outer(np.exp(POWER * left), np.exp(POWER * right))
        near = np.exp(-np.abs(left[:, None] - right[None, :]) / REACH)
        return cls(amplitude * near, LAG**2 * np.outer(-np.expm1(left), -np.expm1(right)))


def rise(logs: Floats) -> Floats:
    """What is expected of scores at these logs of rungs, beside their ends, (N,)."""
    return np.asarray(RISE * np.expm1(logs))


class Plain(NamedTuple):
    """How far apart configurations lie."""

    layout: Layout
    spread: Floats  # (kinds, values): of a value among tokens of that kind; 0 where it never changes
    settings: Floats  # (settings,) the same
    units: Floats  # (2,) squared: of the values of a kind, of the settings
    noise: float = NOISE  # standard deviation of a score, where those of a task have 1

    @classmethod
    def of(cls, layout: Layout, configurations: Configurations, noise: float | None = None) -> "Plain":
        """With values that all count alike; the noise of a score as repeats tell it, if there are any."""
        kinds = len(layout.kinds)
        tokens = configurations.tokens[configurations.present]
        spread = np.zeros((kinds, len(layout.values)))
        for kind in range(kinds):
            found = tokens[tokens[:, kind] > 0, kinds:]
            spread[kind] = found.std(axis=0) if len(found) else 0.0
        settings = configurations.settings.std(axis=0) if len(configurations) else np.zeros(len(layout.settings))
        scale = cls(layout, spread, settings, np.ones(2), max(NOISE, noise or 0.0))
        vectors = scale.vectors(configurations)[:: max(1, len(configurations) // MOST)]
        has, values, whole = scale._parts(vectors)
        apart = [_squares(values[has[:, kind] > 0, kind], values[has[:, kind] > 0, kind]) for kind in range(kinds)]
        units = [_middle(np.concatenate([np.ravel(one) for one in apart])), _middle(_squares(whole, whole))]
        return scale._replace(units=np.array(units))

    def vectors(self, configurations: Configurations) -> Floats:
        """Which kinds a configuration has, their values and its settings, (N, kinds + kinds values + settings)."""
        kinds = len(self.layout.kinds)
        tokens = configurations.tokens * configurations.present[:, :, None]
        has = tokens[:, :, :kinds].sum(axis=1)
        values = np.einsum("ntk,ntv->nkv", tokens[:, :, :kinds], tokens[:, :, kinds:]) * _inverse(self.spread)
        settings = configurations.settings * _inverse(self.settings)
        return np.concatenate([has, values.reshape(len(configurations), -1), settings], axis=1)

    def apart(self, left: Floats, right: Floats) -> "Apart":
        """What every length-scale needs to know of configurations given as vectors."""
        (has, values, whole), (has2, values2, whole2) = self._parts(left), self._parts(right)
        norms = np.linalg.norm(has, axis=1)[:, None] * np.linalg.norm(has2, axis=1)[None]
        shared = []
        for kind in range(has.shape[1]):
            rows, columns = np.flatnonzero(has[:, kind]), np.flatnonzero(has2[:, kind])
            if len(rows) and len(columns):
                at = np.ix_(rows, columns)
                weight = np.outer(has[rows, kind], has2[columns, kind]) / norms[at]
                distance = np.sqrt(5 * _squares(values[rows, kind], values2[columns, kind]) / self.units[0])
                shared.append(Shared(at, weight, distance))
        return Apart(has @ has2.T / norms, tuple(shared), np.sqrt(5 * _squares(whole, whole2) / self.units[1]))

    def kernel(self, apart: "Apart", length: float) -> Floats:
        """Covariance of configurations that lie so far apart, (left, right)."""
        found = KINDS * apart.kinds
        for kind in apart.shared:
            found[kind.at] += (1 - KINDS) * kind.weight * _matern(kind.distance / length)
        return np.asarray(found * _matern(apart.settings / length))

    def _parts(self, vectors: Floats) -> tuple[Floats, Floats, Floats]:
        kinds, values = self.spread.shape
        middle = vectors[:, kinds : kinds + kinds * values].reshape(len(vectors), kinds, values)
        return vectors[:, :kinds], middle, vectors[:, kinds + kinds * values :]


def _inverse(spread: Floats) -> Floats:
    return np.asarray(np.where(spread > 1e-9, 1 / (spread + 1e-12), 0.0))


def _matern(at: Floats) -> Floats:
    return np.asarray((1 + at + at**2 / 3) * np.exp(-at))


def _middle(squares: Floats) -> float:
    apart = squares[squares > 1e-9]
    return float(np.median(apart)) if len(apart) else 1.0


def _squares(left: Floats, right: Floats) -> Floats:
    found = (left**2).sum(1)[:, None] + (right**2).sum(1)[None] - 2 * left @ right.T
    return np.asarray(np.maximum(found, 0))
