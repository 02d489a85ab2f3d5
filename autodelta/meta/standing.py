"""Points as the arms see them: what the members of the network hold of each before any trial, and where it lies."""

from typing import Literal, NamedTuple

import numpy as np

from autodelta.meta.problem import Floats, Integers

Arm = Literal["hypernetwork", "shared", "plain", "weighed"]


class Standing(NamedTuple):
    """What a member holds of N points before any trial."""

    mean: Floats  # (N,)
    basis: Floats  # (N, d)
    residual: Floats  # (N,) standard deviation of what is a configuration's own


class Pool(NamedTuple):
    """Points as all arms see them."""

    ids: Integers  # (N,) the same for points of one configuration
    logs: Floats  # (N,) of the rung
    standings: dict[Arm, list[Standing]]
    vectors: Floats  # (N, columns)
    costs: Floats  # (N, 2) log seconds and log bytes


def appended(first: Pool, second: Pool, *, none: bool = False) -> Pool:
    """One after the other; nothing of both with ``none``."""
    last = 0 if none else None
    cut = slice(last)
    standings = {
        arm: [
            Standing(*(np.concatenate([a[cut], b[cut]]) for a, b in zip(left, right, strict=True)))
            for left, right in zip(found, second.standings[arm], strict=True)
        ]
        for arm, found in first.standings.items()
    }
    pairs = (
        (first.ids, second.ids),
        (first.logs, second.logs),
        (first.vectors, second.vectors),
        (first.costs, second.costs),
    )
    ids, logs, vectors, costs = (np.concatenate([a[cut], b[cut]]) for a, b in pairs)
    return Pool(ids, logs, standings, vectors, costs)
