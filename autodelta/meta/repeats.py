"""Repeats: how much of what sets a task's trials apart is the work of seeds.

Where a configuration was trained on several seeds, its scores scatter by chance alone. The share of that in a task's
variance says how much the task has to teach, and how far a single score is to be believed.
"""

from collections.abc import Sequence

import numpy as np

from autodelta.meta.episodes import standardised
from autodelta.meta.problem import Floats, Source

PRIOR = 2.0  # degrees of freedom that the mean over tasks counts for beside a task's own, which are few
LEAST = 0.05  # that a task teaches, however noisy it looks


def noise_shares(tasks: Sequence[Source]) -> Floats | None:
    """The share of noise in the variance of each task's ended trials, (tasks,), in (0, 1]; None: nothing was repeated.

    Pooled within configurations, of scores as the network sees them, and drawn to the mean over tasks.
    """
    squares, freedom = np.zeros(len(tasks)), np.zeros(len(tasks))
    for number, task in enumerate(tasks):
        ended = task.points.ended
        _, at, counts = np.unique(task.points.rows[ended], return_inverse=True, return_counts=True)
        scores = standardised(task)[ended]
        means = np.bincount(at, weights=scores) / counts
        squares[number] = ((scores - means[at]) ** 2).sum()
        freedom[number] = (counts - 1).sum()
    if not freedom.any():
        return None
    mean = squares.sum() / freedom.sum()
    return np.asarray(np.clip((squares + PRIOR * mean) / (freedom + PRIOR), 0.0, 1.0))


def lessons(tasks: Sequence[Source]) -> Floats:
    """How much each task counts in the training, (tasks,), 1 on the mean: by the share of its variance that is no
    noise; all alike where nothing was repeated."""
    noise = noise_shares(tasks)
    if noise is None:
        return np.ones(len(tasks))
    told = np.maximum(1.0 - noise, LEAST)
    return np.asarray(told / told.mean())


def noise_of_a_score(tasks: Sequence[Source]) -> float | None:
    """Standard deviation of a score between seeds where those of a task have 1, on the middle task; None: not known."""
    noise = noise_shares(tasks)
    return None if noise is None else float(np.sqrt(np.median(noise)))
