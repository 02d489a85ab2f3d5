"""Gaussian process with expected improvement (Optuna's GPSampler).

It models only the parameters that every trial has: in a conditional space that is a small part of them (in the default
space about a quarter), and the others are drawn at random. It suits spaces where all trials have the same parameters.
"""

from typing import TYPE_CHECKING

from autodelta.search.samplers import Sampler

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


def _build(seed: int) -> "BaseSampler":
    from optuna.samplers import GPSampler

    return GPSampler(seed=seed, warn_independent_sampling=False)


SAMPLER = Sampler(
    help="Gaussian process; models only the parameters that every trial has, and draws the others at random",
    build=_build,
)
