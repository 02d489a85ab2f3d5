"""Tree-structured Parzen estimator (Bergstra et al. 2011; multivariate: Falkner et al. 2018, arXiv 1807.01774).

Grouped: parameters that occur together are modelled together, which a conditional space needs. Constant liar: trials
that still run count as bad ones, so that parallel workers spread out.

A pool is ranked by what TPE maximises over its own draws, log l(x) - log g(x): the densities of good and of bad trials,
summed over the groups. Split, weights and kernels are those of Optuna's sampler, which is asked for them.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from autodelta.search.samplers import PoolEntry, Sampler
from autodelta.search.samplers.random import rank as at_random

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.samplers import TPESampler
    from optuna.trial import FrozenTrial


def build(seed: int) -> "TPESampler":
    """Optuna's sampler as this module's first lines say."""
    from optuna.samplers import TPESampler

    return TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True)


def _rank(study: "Study", pool: Sequence[PoolEntry], seed: int) -> "NDArray[np.float64]":
    """The log of l(x) / g(x) for every entry; at random until there are trials enough."""
    from optuna.samplers._tpe.sampler import _split_trials, default_gamma
    from optuna.trial import TrialState

    finished, running = (TrialState.COMPLETE, TrialState.PRUNED), (TrialState.RUNNING,)
    sampler = build(seed)
    trials = study._get_trials(deepcopy=False, states=finished + running)
    done = [trial for trial in trials if trial.state in finished]
    if len(done) < sampler._n_startup_trials:
        return at_random(study, pool, seed)
    below, above = _split_trials(study, trials, default_gamma(len(done)))
    found = np.zeros(len(pool))
    kinds: dict[frozenset[str], list[int]] = {}
    for row, entry in enumerate(pool):
        kinds.setdefault(frozenset(entry.params), []).append(row)
    for group in _groups(done):
        for names, rows in _held(group, kinds).items():
            part = {name: group[name] for name in names}
            good = sampler._build_parzen_estimator(study, part, below, handle_below=True)
            bad = sampler._build_parzen_estimator(study, part, above, handle_below=False)
            asked = {name: np.array([pool[row].numbers[name] for row in rows]) for name in names}
            found[rows] += sampler._compute_acquisition_func(asked, good, bad)
    return found


def _groups(trials: "Iterable[FrozenTrial]") -> "list[dict[str, BaseDistribution]]":
    """Parameters that occur in the same trials, each group by the order of names; what cannot vary is left out.

    These are the groups of Optuna's ``_GroupDecomposedSearchSpace``, found from the distinct sets of names.
    """
    kinds = {frozenset(trial.distributions): trial.distributions for trial in trials}
    known = {name: distribution for kind in kinds.values() for name, distribution in kind.items()}
    groups: dict[tuple[bool, ...], dict[str, Any]] = {}
    for name in sorted(known):
        if not known[name].single():
            groups.setdefault(tuple(name in kind for kind in kinds), {})[name] = known[name]
    return list(groups.values())


def _held(
    group: "dict[str, BaseDistribution]", kinds: dict[frozenset[str], list[int]]
) -> dict[tuple[str, ...], list[int]]:
    """The entries by what they hold of a group: all, nothing (left out), or a part that no trial has had alone yet.

    A part has densities of its own: those of the group without the parameters that are missing.
    """
    found: dict[tuple[str, ...], list[int]] = {}
    for kind, rows in kinds.items():
        names = tuple(name for name in group if name in kind)
        if names:
            found.setdefault(names, []).extend(rows)
    return found


SAMPLER = Sampler(
    help="density ratio of good and bad trials (TPE); a good first choice",
    build=lambda seed, scene: build(seed),
    rank=_rank,
)
