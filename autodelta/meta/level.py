"""The level of a task: what is believed of offset and scale of its scores before its trials, by its features.

How hard a task is can be told from its features better than which composition suits it: counting words, say, has been
tried on it. Offset and log scale are each foretold by ridge regression; how far off that is, is measured on families of
tasks that the regression was not fitted on, and that error is what the posterior starts from. Where features foretell
nothing, mean and spread over tasks are left.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from autodelta.meta.problem import Floats

GRID = np.linspace(-2.5, 2.5, 11)  # of what is normal, in standard deviations
GRID_LOGS = -0.5 * GRID**2 - np.log(np.exp(-0.5 * GRID**2).sum())  # the log weights of its points


@dataclass(frozen=True)
class Level:
    """What is believed of offset and scale of one task's scores before its trials: normal, and log-normal."""

    offset: float
    offset_sd: float
    log_scale: float
    log_scale_sd: float

    @property
    def relative(self) -> float:
        """Standard deviation of the offset in units of the scale: b."""
        return float(self.offset_sd / np.exp(self.log_scale))

    @property
    def expected(self) -> tuple[float, float]:
        """Offset and scale."""
        return self.offset, float(np.exp(self.log_scale))

    def scales(self) -> tuple[Floats, Floats]:
        """The grid of scales, and their log weights."""
        return np.exp(self.log_scale + self.log_scale_sd * GRID), GRID_LOGS


class Levels(NamedTuple):
    """The regression of offset and log scale, two columns, on features of one scale (``autodelta.meta.regression``)."""

    mean: Floats  # (2,) over tasks
    sd: Floats  # (2,)
    at_zero: Floats  # (2,) what is foretold where all features are at their mean
    weights: Floats  # (features, 2); 0 where features foretell nothing
    error: Floats  # (2,) standard deviation of what is not foretold, on families left out

    def level(self, features: Floats | None) -> Level:
        """Of a task by its features, (features,) on the same scale; None: of any task."""
        if features is None:
            (offset, log_scale), (offset_sd, log_scale_sd) = self.mean, self.sd
        else:
            (offset, log_scale), (offset_sd, log_scale_sd) = self.at_zero + features @ self.weights, self.error
        return Level(float(offset), float(offset_sd), float(log_scale), float(log_scale_sd))
