"""NSGA-II (Deb et al. 2002): evolves candidates towards the front of score and parameters, without pruning."""

from typing import TYPE_CHECKING

from autodelta.search.samplers import Sampler

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

POPULATION = 20  # Optuna's 50 is more than most budgets have trials


def _build(seed: int) -> "BaseSampler":
    from optuna.samplers import NSGAIISampler

    return NSGAIISampler(seed=seed, population_size=POPULATION)


SAMPLER = Sampler(
    help="evolution towards the front of score and parameters (two directions, no pruning)",
    build=lambda seed, scene: _build(seed),
    two_directions=True,
)
