"""Episodes: what a new task looks like after a few trials, drawn from a recorded one; the network learns from these."""

from typing import NamedTuple

import numpy as np

from autodelta.meta.problem import Flags, Floats, Integers, Source
from autodelta.meta.squash import squash

CONTEXT, QUERIES = 16, 24
NOTHING_SEEN = 0.2  # of the episodes have no trial yet
SHARE_OF_PARTS = 0.5  # of the seen trials, where there are curves, that have not ended


class Episode(NamedTuple):
    """Points of one task: context first, then queries. Where there are fewer, ``weight`` is 0."""

    points: Integers  # (CONTEXT + QUERIES,) into the task's points
    weight: Flags  # (CONTEXT + QUERIES,)


def draw(task: Source, rng: np.random.Generator) -> Episode:
    """An episode of one task. Queries are ends of trials; a seen trial may have come to an earlier rung alone."""
    ends = np.flatnonzero(task.points.ended)
    ends = ends[rng.permutation(len(ends))][: CONTEXT + QUERIES]
    seen = 0 if rng.random() < NOTHING_SEEN else int(rng.integers(1, CONTEXT + 1))
    seen = min(seen, max(0, len(ends) - 2))
    context = ends[:seen].copy()
    parts = np.flatnonzero(~task.points.ended)
    queries = ends[seen : seen + QUERIES]
    if len(parts) and seen:
        queries = np.concatenate([queries[: QUERIES - seen // 2], context])[:QUERIES]
        cut = np.flatnonzero(rng.random(seen) < SHARE_OF_PARTS)
        for at in cut:
            earlier = parts[task.points.rows[parts] == task.points.rows[context[at]]]
            if len(earlier):
                context[at] = rng.choice(earlier)
    points = np.full(CONTEXT + QUERIES, ends[0])
    points[:seen] = context
    points[CONTEXT : CONTEXT + len(queries)] = queries
    weight = np.zeros(CONTEXT + QUERIES, dtype=bool)
    weight[:seen] = True
    weight[CONTEXT : CONTEXT + len(queries)] = True
    # a query that is also in the context, at its end, would be known
    repeated = np.isin(points[CONTEXT:], context)
    weight[CONTEXT:] &= ~repeated
    return Episode(points, weight)


def standardised(task: Source) -> Floats:
    """Its scores (n,), squashed, so that the ends of its trials have mean 0 and standard deviation 1."""
    offset, scale = task.scaled()
    return squash((task.points.scores - offset) / scale)
