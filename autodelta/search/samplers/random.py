"""Independent draws from the space: the baseline for every other sampler."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from autodelta.search.samplers import PoolEntry, Sampler

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from optuna import Study
    from optuna.samplers import BaseSampler


def _build(seed: int) -> "BaseSampler":
    from optuna.samplers import RandomSampler

    return RandomSampler(seed=seed)


def rank(study: "Study", pool: Sequence[PoolEntry], seed: int) -> "NDArray[np.float64]":
    """Numbers at random, whatever the trials say."""
    return np.random.default_rng(seed).random(len(pool))


SAMPLER = Sampler(help="independent draws from the space", build=lambda seed, scene: _build(seed), rank=rank)
