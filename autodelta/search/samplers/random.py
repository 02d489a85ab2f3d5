"""Independent draws from the space: the baseline for every other sampler."""

from typing import TYPE_CHECKING

from autodelta.search.samplers import Sampler

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


def _build(seed: int) -> "BaseSampler":
    from optuna.samplers import RandomSampler

    return RandomSampler(seed=seed)


SAMPLER = Sampler(help="independent draws from the space", build=_build)
