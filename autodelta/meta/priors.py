"""What each member of every arm holds of points before any trial: means, covariances and noise.

Points are ends of trials, or scores on the way at their rungs. Members of the network's two arms are those of its
ensemble; the arm without transfer has one for each length-scale, and the weighed one for each story and length-scale.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from autodelta.meta.plain import LENGTHS, Along, Apart, rise
from autodelta.meta.problem import Floats
from autodelta.meta.standing import Arm, Pool
from autodelta.meta.weighed import STORIES, Story

if TYPE_CHECKING:
    from autodelta.meta.model import Model


class Kernels(NamedTuple):
    """Covariances without transfer of two groups of points, as far as they have been asked for."""

    left: Pool
    right: Pool
    apart: Apart
    along: Along
    found: dict[int, Floats]  # by the number of the length-scale


class Priors:
    """Of one model, and of what it believes of the arms that other tasks have taught."""

    def __init__(self, model: "Model", taught: Mapping[Arm, float]) -> None:
        self._model, self._taught = model, taught
        self._plain: Kernels | None = None

    def members(self, arm: Arm) -> int:
        """How many an arm has."""
        if arm == "weighed":
            return len(STORIES) * len(LENGTHS)
        return len(LENGTHS) if arm == "plain" else self._model.members

    def noise(self, arm: Arm, member: int) -> float:
        """Standard deviation of a score about its configuration's."""
        return self._model.plain.noise if arm in ("plain", "weighed") else self._model.noises[member].sigma

    def mean(self, arm: Arm, member: int, points: Pool) -> Floats:
        """What a member expects of points, (N,)."""
        if arm == "plain":
            return rise(points.logs)
        if arm == "weighed":
            return rise(points.logs) + _story(member).weight * self._message(points)
        return points.standings[arm][member].mean

    def variance(self, arm: Arm, member: int, ends: Pool) -> Floats:
        """Of ends of trials, their noise left out, (N,)."""
        if arm == "plain":
            return np.ones(len(ends.ids))
        if arm == "weighed":
            return _story(member).variance(self._message(ends))
        standing, tau = ends.standings[arm][member], self._model.noises[member].tau
        return np.asarray((standing.basis**2).sum(axis=1) + (tau * standing.mean) ** 2 + standing.residual**2)

    def kernel(self, arm: Arm, member: int, left: Pool, right: Pool) -> Floats:
        """Covariance of points, their noise left out, (left, right)."""
        if arm == "plain":
            return self._plain_kernel(member, left, right)
        if arm == "weighed":
            rest = self._plain_kernel(member % len(LENGTHS), left, right)
            return _story(member).kernel(self._message(left), self._message(right), rest)
        a, b = left.standings[arm][member], right.standings[arm][member]
        noise = self._model.noises[member]
        found = a.basis @ b.basis.T + noise.tau**2 * np.outer(a.mean, b.mean)
        rows, columns = np.nonzero(left.ids[:, None] == right.ids)  # the few that share their own
        near = np.exp(-np.abs(left.logs[rows] - right.logs[columns]) / noise.reach)
        found[rows, columns] += a.residual[rows] * b.residual[columns] * near
        return np.asarray(found)

    def _message(self, points: Pool) -> Floats:
        """What the past says of points beside how scores rise anywhere, (N,): the mean over both arms of the ensemble,
        as believed at first."""
        means = [np.mean([one.mean for one in points.standings[arm]], axis=0) for arm in self._taught]
        return np.asarray(np.average(means, axis=0, weights=list(self._taught.values())) - rise(points.logs))

    def _plain_kernel(self, length: int, left: Pool, right: Pool) -> Floats:
        """Covariance without transfer at a length-scale; those of the last two groups of points are kept."""
        if self._plain is None or self._plain.left is not left or self._plain.right is not right:
            apart, along = self._model.plain.apart(left.vectors, right.vectors), Along.of(left.logs, right.logs)
            self._plain = Kernels(left, right, apart, along, {})
        if length not in self._plain.found:
            share, lag = self._plain.along
            self._plain.found[length] = share * self._model.plain.kernel(self._plain.apart, LENGTHS[length]) + lag
        return self._plain.found[length]


def _story(member: int) -> Story:
    """That of a member of the weighed arm."""
    return STORIES[member // len(LENGTHS)]
