"""The closed-form posterior of one task's scores, its offset and scale inferred along; numpy, float64.

A score is y = o + c z with z = m + k + e: m the prior mean, k ~ N(0, K) with K = phi Lambda phi^T + tau^2 m m^T + R,
and e ~ N(0, sigma^2). R is what is a configuration's own: shared by its points, the less the further their rungs lie
apart, so that the first points of a curve inform its end (freeze-thaw). The offset has the prior N(o0, (c b)^2), which
joins K as b^2; the scale c is log-normal, on a grid. As b is in units of c, one factorisation serves the whole grid.

Of scores as they are seen, drawn in by ``autodelta.meta.squash``, the belief is a mixture of normal ones, one for each
point of the grid. Scores themselves are o + c spread(z), with o and c those of the task: the belief about them has a
part for each offset and scale, and only z goes through the spread. (What is not known of the level would otherwise go
through its exponential tail, and before the first trial every interval would reach to nothing.)
"""

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from scipy.linalg.lapack import dpotrf, dtrtrs  # its callers in SciPy cost more than the solving
from scipy.special import ndtr

from autodelta.meta.level import GRID, GRID_LOGS, Level
from autodelta.meta.problem import Floats
from autodelta.meta.squash import spread, squash

JITTER = 1e-6
FAR = 20.0  # standard deviations within which every quantile lies
HALVINGS = 40
LIGHT = np.log(1e-5)  # weight of parts of a mixture that no quantile needs


def log_sum(logs: Floats) -> float:
    """The log of a sum of exponentials; SciPy's own takes most of the time of an ask."""
    top = logs.max()
    return float(top + np.log(np.exp(logs - top).sum()))


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

    def at(self, offset: float, scale: float) -> "ScoreMixture":
        """Of scores themselves, were this the level at which they are seen."""
        level = (np.full(len(self.means), offset), np.full(len(self.means), scale))
        return ScoreMixture(self.log_weights, *level, (self.means - offset) / scale, self.sds / scale)

    def improvement(self, best: float) -> Floats:
        """Expected improvement over a score, (N,)."""
        gain = self.means - best
        at = gain / self.sds
        density = np.exp(-0.5 * at**2) / np.sqrt(2 * np.pi)
        return np.asarray(np.exp(self.log_weights) @ (gain * ndtr(at) + self.sds * density))


class ScoreMixture(NamedTuple):
    """Beliefs about N scores themselves: C parts with weights that sum to 1, o + c spread(z) with z normal."""

    log_weights: Floats  # (C,)
    offsets: Floats  # (C,)
    scales: Floats  # (C,)
    means: Floats  # (C, N) of z
    sds: Floats  # (C, N)

    def below(self, scores: Floats) -> Floats:
        """The chance that each lies below a score of its own, (N,)."""
        z = squash((scores - self.offsets[:, None]) / self.scales[:, None])
        return np.asarray(np.exp(self.log_weights) @ ndtr((z - self.means) / self.sds))

    def quantile(self, level: float) -> Floats:
        """A quantile of the mixture, (N,), by bisection on the scale of z."""
        weights = np.exp(self.log_weights)
        offset, scale = float(weights @ self.offsets), float(np.exp(weights @ np.log(self.scales)))
        low, high = np.full(self.means.shape[1], -FAR), np.full(self.means.shape[1], FAR)
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            below = self.below(offset + scale * spread(middle)) < level
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        return np.asarray(offset + scale * spread((low + high) / 2))

    def without_light_parts(self) -> "ScoreMixture":
        """Those parts that weigh something; their weights sum to 1 again."""
        kept = self.log_weights > LIGHT
        weights, *rest = (part[kept] for part in self)
        return ScoreMixture(weights - log_sum(weights), *rest)


Parts = TypeVar("Parts", Mixture, ScoreMixture)


def joined(parts: Sequence[Parts], log_weights: Floats) -> Parts:
    """A mixture of mixtures; their weights need not sum to 1."""
    weights = log_weights - log_sum(log_weights)
    first = np.concatenate([part.log_weights + weight for part, weight in zip(parts, weights, strict=True)])
    rest = [np.concatenate(found) for found in zip(*(part[1:] for part in parts), strict=True)]
    return type(parts[0])(first, *rest)


class Posterior:
    """Beliefs after n scores: factored once for where they were taken, told what they are as often as one likes.

    Points that wait for their score come last. Each stands where it is foretold, in every part of the mixture (the
    kriging believer of Ginsbourger et al. 2010): whitened, what it is off by is 0. So it narrows what is foretold of
    others, and moves neither their means nor the evidence.
    """

    def __init__(self, mean: Floats, kernel: Floats, level: Level, *, waiting: int = 0) -> None:
        """Factors the covariance.

        Args:
            mean: (n + waiting,) of z.
            kernel: (n + waiting, n + waiting) of z with its noise.
            level: of the task.
            waiting: how many of the last points have no score yet.
        """
        self._level, self._count = level, len(mean) - waiting
        self._scales, self._prior = level.scales()
        covariance = kernel + level.relative**2
        np.fill_diagonal(covariance, covariance.diagonal() + JITTER)
        self._factor = _cholesky(covariance)
        self._log_det = float(np.log(np.diag(self._factor)[: self._count]).sum())
        self._mean = self._told_by(mean)
        self.tell(np.full(self._count, level.offset))

    def tell(self, scores: Floats) -> None:
        """Conditions on scores, (n,)."""
        off = np.concatenate([scores - self._level.offset, np.zeros(len(self._factor) - self._count)])
        self._told = self._told_by(off) / self._scales - self._mean  # (n + waiting, C)
        sizes = self._count * np.log(self._scales * np.sqrt(2 * np.pi))
        logs = self._prior - 0.5 * (self._told**2).sum(axis=0) - self._log_det - sizes
        self.log_evidence = log_sum(logs)
        self._log_weights = logs - self.log_evidence

    def predict(self, mean: Floats, cross: Floats, variance: Floats) -> Mixture:
        """Beliefs about N scores.

        Args:
            mean: (N,) of z.
            cross: (N, n + waiting) covariance with the observed ones.
            variance: (N,) of z.
        """
        extra = self._level.relative**2
        whitened = self._whiten(cross.T + extra)  # (n, N)
        z = mean + self._told.T @ whitened  # (C, N)
        left = np.maximum(variance + extra - (whitened**2).sum(axis=0), JITTER)
        scales = self._scales[:, None]
        return Mixture(self._log_weights, self._level.offset + scales * z, scales * np.sqrt(left))

    def of_scores(self, mean: Floats, cross: Floats, variance: Floats) -> ScoreMixture:
        """Beliefs about N scores themselves, as ``predict``; a part for each offset and scale of the grids. What waits
        has no part in it."""
        relative = self._level.relative**2
        ones, whitened = self._ones(), self._whiten(cross.T)[: self._count]
        off_sd = np.sqrt(max(relative - float(ones @ ones), 0.0))  # of the offset, in units of the scale
        parts = (len(self._scales), len(GRID))
        offsets = self._level.offset + self._scales[:, None] * (
            (ones @ self._told[: self._count])[:, None] + off_sd * GRID
        )
        shared = -(ones @ whitened) / max(
            off_sd, JITTER
        )  # covariance of z with the offset, over the latter's deviation
        z = (mean + self._told[: self._count].T @ whitened)[:, None, :] + GRID[:, None] * shared  # (scales, offsets, N)
        left = np.maximum(variance - (whitened**2).sum(axis=0) - shared**2, JITTER)
        return ScoreMixture(
            (self._log_weights[:, None] + GRID_LOGS).ravel(),
            offsets.ravel(),
            np.broadcast_to(self._scales[:, None], parts).ravel(),
            z.reshape(-1, len(mean)),
            np.broadcast_to(np.sqrt(left), (len(offsets.ravel()), len(mean))),
        )

    def level(self) -> tuple[float, float]:
        """The offset and the scale that are now expected."""
        offsets = self._level.offset + self._scales * (self._ones() @ self._told[: self._count])
        weights = np.exp(self._log_weights)
        return float(weights @ offsets), float(np.exp(weights @ np.log(self._scales)))

    def _ones(self) -> Floats:
        """The covariance of the offset with the scores, (n,), whitened."""
        return self._whiten(np.full((len(self._factor), 1), self._level.relative**2))[: self._count, 0]

    def _told_by(self, values: Floats) -> Floats:
        """Values of all points, whitened; 0 for those that wait, (n + waiting, 1)."""
        found = self._whiten(values[:, None])
        found[self._count :] = 0.0
        return found

    def _whiten(self, values: Floats) -> Floats:
        if not len(values):
            return values
        return np.asarray(dtrtrs(self._factor, values, lower=1)[0])


def _cholesky(covariance: Floats) -> Floats:
    """The lower factor of a symmetric matrix, (n, n), which is written over; in the order that LAPACK takes, else it
    would be copied at each solving.

    Raises:
        LinAlgError: the matrix is not positive definite.
    """
    if not len(covariance):
        return covariance
    factor, failed = dpotrf(covariance.T, lower=1, overwrite_a=1)
    if failed:
        raise np.linalg.LinAlgError("the covariance is not positive definite")
    return np.asarray(factor)
