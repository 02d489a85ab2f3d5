"""NSGA-II (Deb et al. 2002): evolves candidates towards the front of score and parameters, without pruning.

It crosses and mutates only the parameters that every trial has, as the Gaussian process does: in a conditional space
which methods are on and how they are trained. Places, sizes and learning rates are drawn at random.

Departure from Optuna's: parents stand in the order of their numbers. Optuna has them in one order when it has just
chosen them and in another when it remembers them, which a search that was taken up again does not.
"""

from optuna import Study
from optuna.samplers import NSGAIISampler
from optuna.trial import FrozenTrial

from autodelta.search.samplers import Sampler

POPULATION = 20  # Optuna's 50 is more than most budgets have trials


class _InOrder(NSGAIISampler):
    """Optuna's sampler, which asks the same whether it remembers the parents or not."""

    def get_parent_population(self, study: Study, generation: int) -> list[FrozenTrial]:
        return sorted(super().get_parent_population(study, generation), key=lambda trial: trial.number)


SAMPLER = Sampler(
    help="evolution of the parameters that every trial has towards the front of score and size; draws the others at "
    "random (two directions, no pruning)",
    build=lambda seed, scene: _InOrder(seed=seed, population_size=POPULATION),
    two_directions=True,
)
