"""How the past may enter a task's scores: stories of which the task's own trials choose, by their evidence.

With m what the past foretells of a configuration, beside how scores rise on any task, its score is z = rho m + delta:
rho a normal weight, delta the plain process of no transfer (``autodelta.meta.plain``). This is the autoregressive
model of Kennedy and O'Hagan 2000 (Biometrika 87), in which the past takes the part of the cheap code. There rho is one
number; here every story has a prior of its own for it, so that a past that holds is used at its full weight from the
start, one that is turned about tells as much with its sign changed, and one that tells nothing leaves the plain
process."""

from typing import NamedTuple

import numpy as np

from autodelta.meta.problem import Floats


class Story(NamedTuple):
    """A prior of the weight, and how much is left to what the past does not know."""

    name: str
    weight: float  # expected of rho
    doubt: float  # standard deviation of rho
    rest: float  # standard deviation of delta, where the scores of a task have 1

    def kernel(self, left: Floats, right: Floats, plain: Floats) -> Floats:
        """Covariance of configurations, (left, right).

        Args:
            left: (left,) what the past foretells.
            right: (right,) the same.
            plain: (left, right) covariance without transfer.
        """
        return np.asarray(self.rest**2 * plain + self.doubt**2 * np.outer(left, right))

    def variance(self, foretold: Floats) -> Floats:
        """Of each of N configurations, (N,)."""
        return np.asarray(self.rest**2 + (self.doubt * foretold) ** 2)


NOTHING = Story("a past that says nothing", weight=0.0, doubt=0.0, rest=1.0)  # the plain arm: its posteriors serve
HOLDS = Story("a past that holds", weight=1.0, doubt=0.3, rest=0.5)
STORIES = (
    NOTHING,
    Story("a past of unknown weight and sign", weight=0.0, doubt=1.0, rest=1.0),
    HOLDS,
)
