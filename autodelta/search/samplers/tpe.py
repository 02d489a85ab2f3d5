"""Tree-structured Parzen estimator (Bergstra et al. 2011; multivariate: Falkner et al. 2018, arXiv 1807.01774).

Grouped: parameters that occur together are modelled together, which a conditional space needs. Constant liar: trials
that still run count as bad ones, so that parallel workers spread out.
"""

from typing import TYPE_CHECKING

from autodelta.search.samplers import Sampler

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


def _build(seed: int) -> "BaseSampler":
    from optuna.samplers import TPESampler

    return TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True)


SAMPLER = Sampler(help="density ratio of good and bad trials (TPE); a good first choice", build=_build)
