"""What needs no network: fixed orders of recorded configurations, from the scores of past tasks alone."""

import numpy as np

from autodelta.meta.inputs import Scale, squeezed
from autodelta.meta.problem import Floats, Integers, NoTransfer, Sources

LOW = 0.25  # quantile of a configuration's scores that stands where it was not tried
SEEN = 0.2  # share of the tasks on which a configuration must have been tried
NEAREST = 3  # tasks


def normalised(sources: Sources) -> Floats:
    """Scores of the ends of trials, best 1 and worst 0 on each task, (tasks, configurations); NaN where not tried."""
    found = np.full((len(sources.tasks), len(sources.configurations)), np.nan)
    for number, task in enumerate(sources.tasks):
        ends = task.points.ended
        scores = task.points.scores[ends]
        sums = np.bincount(task.points.rows[ends], weights=scores, minlength=found.shape[1])
        counts = np.bincount(task.points.rows[ends], minlength=found.shape[1])
        tried = counts > 0
        means = sums[tried] / counts[tried]  # over repeats
        found[number, tried] = (means - means.min()) / max(float(np.ptp(means)), 1e-12)
    return found


def greedy(sources: Sources, length: int) -> Integers:
    """Configurations of which each adds most to the best of those before it, on the mean of the tasks.

    The greedy portfolio of Xu, Hoos and Leyton-Brown 2010 (Hydra) and Wistuba et al. 2015. Where a configuration
    was not tried on a task, the lower quartile of its scores on others stands in: neither hope nor a punishment.
    """
    scores = normalised(sources)
    tried = np.isfinite(scores).sum(axis=0)
    able = np.flatnonzero(tried >= min(max(2, SEEN * len(scores)), tried.max()))
    filled = scores[:, able]
    filled = np.where(np.isnan(filled), np.nanquantile(filled, LOW, axis=0), filled)
    best = np.zeros(len(filled))
    order: list[int] = []
    for _ in range(min(length, len(able))):
        value = np.maximum(filled, best[:, None]).mean(axis=0)
        value[order] = -1
        order.append(int(value.argmax()))
        best = np.maximum(best, filled[:, order[-1]])
    return np.asarray(able[order], dtype=np.int64)


def of_nearest(sources: Sources, features: Floats, length: int) -> Integers:
    """Configurations by their mean score on the tasks whose features lie nearest, the best first; those that were tried
    on one of these.

    Raises:
        NoTransfer: a feature is not known.
    """
    if not np.isfinite(features).all():
        raise NoTransfer("the task lacks features")
    known = squeezed(np.stack([task.features for task in sources.tasks]))
    scale = Scale.of(known)
    apart = np.nan_to_num(scale.apply(known) - scale.apply(squeezed(features)))
    near = np.argsort((apart**2).sum(axis=1), kind="stable")[:NEAREST]
    scores = normalised(sources)[near]
    tried = np.isfinite(scores)
    mean = np.where(tried, scores, 0).sum(axis=0) / np.maximum(tried.sum(axis=0), 1)
    ranked = np.argsort(-np.where(tried.any(axis=0), mean, -1.0), kind="stable")
    return np.asarray(ranked[: min(length, int(tried.any(axis=0).sum()))], dtype=np.int64)
