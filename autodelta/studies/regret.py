"""Curves of regret and of rank with intervals, from many searches on many tasks.

Arrays of values have the shape (methods, tasks, searches, points); a curve is the mean over tasks and searches.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

Floats = NDArray[np.float64]
NOTHING = 1.0  # the regret of a search that has nothing to hand over yet: that of the worst candidate
RESAMPLES = 1000
LEVEL = 0.95


@dataclass(frozen=True)
class Band:
    """A mean and its interval, each of shape (methods, points)."""

    mean: Floats
    low: Floats
    high: Floats


def normalised(truth: dict[str, float]) -> dict[str, float]:
    """The regret of each candidate on a task: 0 for the best, 1 for the worst, 0 for all where they are equal."""
    best, worst = max(truth.values()), min(truth.values())
    return {key: (best - value) / (best - worst) if best > worst else 0.0 for key, value in truth.items()}


def held(at: ArrayLike, values: ArrayLike, grid: ArrayLike) -> Floats:
    """What a search held at each point of a grid, from the points where that changed; ``NOTHING`` before the first."""
    row = np.searchsorted(np.asarray(at), np.asarray(grid), side="right")
    return np.concatenate([[NOTHING], np.asarray(values, dtype=float)])[row]


def ranks(regrets: Floats) -> Floats:
    """The rank of each method among all in the same search at the same point, from 1; equals share the mean."""
    return np.asarray(rankdata(regrets, method="average", axis=0))


def resampled(groups: Sequence[str], searches: int, *, seed: int = 0) -> Floats:
    """Weights of shape (resamples, tasks, searches): groups of tasks drawn with replacement, then searches.

    Args:
        groups: the group of each task; tasks of one group are drawn together, for they say much the same.
        searches: of each task.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    names, at = np.unique(np.asarray(groups), return_inverse=True)
    tasks, draws = len(at), rng.integers(len(names), size=(RESAMPLES, len(names)))
    times = np.stack([np.bincount(drawn, minlength=len(names)) for drawn in draws])[:, at]
    chosen = rng.integers(searches, size=(RESAMPLES, tasks, searches))
    weights = np.zeros((RESAMPLES, tasks, searches))
    np.add.at(weights, (np.arange(RESAMPLES)[:, None, None], np.arange(tasks)[:, None], chosen), 1.0)
    weights *= times[:, :, None]
    return np.asarray(weights / weights.sum(axis=(1, 2), keepdims=True))


def curves(values: Floats, weights: Floats) -> Floats:
    """The mean curves of every resample: (resamples, methods, points)."""
    methods, _, _, points = values.shape
    flat = values.transpose(1, 2, 0, 3).reshape(-1, methods * points)
    return (weights.reshape(len(weights), -1) @ flat).reshape(-1, methods, points)


def band(values: Floats, weights: Floats) -> Band:
    """Mean curves with percentile intervals over resampled tasks and searches."""
    low, high = np.quantile(curves(values, weights), [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return Band(mean=values.mean(axis=(1, 2)), low=low, high=high)


def share_to_reach(slow: Floats, fast: Floats, grid: Floats) -> float:
    """The point of the grid at which a falling mean curve comes down to another's end; infinity if it never does."""
    reached = np.flatnonzero(fast <= slow[-1])
    return float(grid[reached[0]]) if len(reached) else float("inf")
