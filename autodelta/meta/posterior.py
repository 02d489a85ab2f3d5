"""The closed-form posterior of one task's scores, its offset and scale inferred along; numpy, float64.

A score is y = o + c z with z = m + k + e: m the prior mean, k ~ N(0, K) with K = phi Lambda phi^T + tau^2 m m^T + R,
and e ~ N(0, sigma^2). R is what is a configuration's own: shared by its points, the less the further their rungs lie
apart, so that the first points of a curve inform its end (freeze-thaw). The offset has the prior N(o0, (c b)^2), which
joins K as b^2; the scale c is log-normal, on a grid. As b is in units of c, one factorisation serves the whole grid.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.linalg.lapack import dtrtrs  # its callers in SciPy cost more than the solving
from scipy.special import ndtr

from autodelta.meta.problem import Floats

GRID = np.linspace(-2.5, 2.5, 11)  # of the log scale, in standard deviations
JITTER = 1e-6
NINES = 9.0  # standard deviations within which every quantile lies


def log_sum(logs: Floats) -> float:
    """The log of a sum of exponentials; SciPy's own takes most of the time of an ask."""
    top = logs.max()
    return float(top + np.log(np.exp(logs - top).sum()))


@dataclass(frozen=True)
class Level:
    """What is believed of offset and scale of a task's scores before its trials."""

    offset: float
    offset_sd: float
    log_scale: float
    log_scale_sd: float

    @property
    def relative(self) -> float:
        """Standard deviation of the offset in units of the scale: b."""
        return float(self.offset_sd / np.exp(self.log_scale))

    def scales(self) -> tuple[Floats, Floats]:
        """The grid of scales, and their log weights."""
        weights = -0.5 * GRID**2
        return np.exp(self.log_scale + self.log_scale_sd * GRID), np.asarray(weights - log_sum(weights))


class Mixture(NamedTuple):
    """Beliefs about N scores: C normal ones, with weights that sum to 1."""

    log_weights: Floats  # (C,)
    means: Floats  # (C, N)
    sds: Floats  # (C, N)

    @property
    def mean(self) -> Floats:
        """(N,)"""
        return np.asarray(np.exp(self.log_weights) @ self.means)

    @property
    def sd(self) -> Floats:
        """(N,)"""
        second = np.exp(self.log_weights) @ (self.sds**2 + (self.means - self.mean) ** 2)
        return np.asarray(np.sqrt(second))

    def widened(self, factor: float) -> "Mixture":
        """The same with all standard deviations, those between the parts included, times a factor."""
        mean = self.mean
        return Mixture(self.log_weights, mean + factor * (self.means - mean), factor * self.sds)

    def improvement(self, best: float) -> Floats:
        """Expected improvement over a score, (N,)."""
        gain = self.means - best
        at = gain / self.sds
        density = np.exp(-0.5 * at**2) / np.sqrt(2 * np.pi)
        return np.asarray(np.exp(self.log_weights) @ (gain * ndtr(at) + self.sds * density))

    def quantile(self, level: float) -> Floats:
        """A quantile of the mixture itself, (N,), by bisection."""
        weights = np.exp(self.log_weights)
        low, high = (self.means - NINES * self.sds).min(axis=0), (self.means + NINES * self.sds).max(axis=0)
        for _ in range(45):
            middle = (low + high) / 2
            below = weights @ ndtr((middle - self.means) / self.sds) < level
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        return np.asarray((low + high) / 2)


def joined(parts: list[Mixture], log_weights: Floats) -> Mixture:
    """A mixture of mixtures; their weights need not sum to 1."""
    weights = log_weights - log_sum(log_weights)
    return Mixture(
        np.concatenate([part.log_weights + weight for part, weight in zip(parts, weights, strict=True)]),
        np.concatenate([part.means for part in parts]),
        np.concatenate([part.sds for part in parts]),
    )


class Posterior:
    """Beliefs after n scores: factored once for where they were taken, told what they are as often as one likes."""

    def __init__(self, mean: Floats, kernel: Floats, level: Level) -> None:
        """Factors the covariance.

        Args:
            mean: (n,) of z.
            kernel: (n, n) of z with its noise.
            level: of the task.
        """
        self._level, self._mean = level, mean
        self._scales, self._prior = level.scales()
        self._factor = np.linalg.cholesky(kernel + level.relative**2 + JITTER * np.eye(len(mean)))
        self._log_det = float(np.log(np.diag(self._factor)).sum())
        self.tell(np.full(len(mean), level.offset))

    def tell(self, scores: Floats) -> None:
        """Conditions on scores, (n,)."""
        off = (scores - self._level.offset)[:, None] / self._scales - self._mean[:, None]
        self._told = self._whiten(off)  # (n, C)
        sizes = len(scores) * np.log(self._scales * np.sqrt(2 * np.pi))
        logs = self._prior - 0.5 * (self._told**2).sum(axis=0) - self._log_det - sizes
        self.log_evidence = log_sum(logs)
        self._log_weights = logs - self.log_evidence

    def predict(self, mean: Floats, cross: Floats, variance: Floats) -> Mixture:
        """Beliefs about N scores.

        Args:
            mean: (N,) of z.
            cross: (N, n) covariance with the observed ones.
            variance: (N,) of z.
        """
        extra = self._level.relative**2
        whitened = self._whiten(cross.T + extra)  # (n, N)
        z = mean + self._told.T @ whitened  # (C, N)
        left = np.maximum(variance + extra - (whitened**2).sum(axis=0), JITTER)
        scales = self._scales[:, None]
        return Mixture(self._log_weights, self._level.offset + scales * z, scales * np.sqrt(left))

    def level(self) -> tuple[float, float]:
        """The offset and the scale that are now expected."""
        ones = self._whiten(np.full((len(self._told), 1), self._level.relative**2))[:, 0]
        offsets = self._level.offset + self._scales * (ones @ self._told)
        weights = np.exp(self._log_weights)
        return float(weights @ offsets), float(np.exp(weights @ np.log(self._scales)))

    def _whiten(self, values: Floats) -> Floats:
        if not len(values):
            return values
        return np.asarray(dtrtrs(self._factor, values, lower=1)[0])
