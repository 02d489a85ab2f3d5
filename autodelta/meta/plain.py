"""The arm without transfer: a Gaussian process on flat vectors, averaged over length-scales by their evidence.

Matern 5/2 (Rasmussen and Williams 2006, equation 4.17). Nothing in it comes from the scores of other tasks.
"""

from typing import NamedTuple

import numpy as np

from autodelta.meta.problem import Configurations, Floats, Layout, flat

LENGTHS = (0.25, 0.5, 1.0, 2.0, 4.0)  # in units of the median distance of two configurations
NOISE = 0.1  # standard deviation, where the scores have 1
MOST = 512  # configurations that the median distance is taken from


class Plain(NamedTuple):
    """How far apart configurations lie."""

    layout: Layout
    spread: Floats  # of each column; 0 where it never changes
    unit: Floats  # (1,) squared

    @classmethod
    def of(cls, layout: Layout, configurations: Configurations) -> "Plain":
        """With columns that all count alike."""
        found = flat(layout, configurations)
        scale = cls(layout, found.std(axis=0), np.ones(1))
        vectors = scale.vectors(configurations)[:: max(1, len(found) // MOST)]
        apart = _squares(vectors, vectors)
        apart = apart[apart > 1e-9]
        return scale._replace(unit=np.array([np.median(apart) if len(apart) else 1.0]))

    def vectors(self, configurations: Configurations) -> Floats:
        """(N, columns)"""
        return np.asarray(
            flat(self.layout, configurations) * np.where(self.spread > 1e-9, 1 / (self.spread + 1e-12), 0)
        )

    def apart(self, left: Floats, right: Floats) -> Floats:
        """How far configurations given as vectors lie apart, (left, right)."""
        return np.asarray(np.sqrt(5 * _squares(left, right) / self.unit[0]))

    def kernel(self, apart: Floats, length: float) -> Floats:
        """Covariance of configurations that lie so far apart, (left, right)."""
        at = apart / length
        return np.asarray((1 + at + at**2 / 3) * np.exp(-at))


def _squares(left: Floats, right: Floats) -> Floats:
    found = (left**2).sum(1)[:, None] + (right**2).sum(1)[None] - 2 * left @ right.T
    return np.asarray(np.maximum(found, 0))
