"""Gaussian process with expected improvement (Optuna's GPSampler).

Asked freely, it models only the parameters that every trial has: in a conditional space that is a small part of them
(in the default space about a quarter), and the others are drawn at random. It suits spaces where all trials have the
same parameters.

A pool is ranked by the log of expected improvement under Optuna's Gaussian process with Optuna's priors. Here every
parameter of the pool takes part: one that an entry lacks stands at the middle of its range, and a categorical column
says which parameters are there. Where all entries have the same parameters, this is the acquisition of GPSampler, save
that running trials stand at the scores foreseen for them (Ginsbourger et al. 2010): Optuna's samples of these scores
give every entry the same value where none is likely to be an improvement.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from autodelta.search.samplers import PoolEntry, Sampler
from autodelta.search.samplers.random import rank as at_random

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from optuna import Study
    from optuna.samplers import GPSampler

MIDDLE = 0.5  # for a categorical parameter: a value that is none of its choices


def _build(seed: int) -> "GPSampler":
    from optuna.samplers import GPSampler

    return GPSampler(seed=seed, warn_independent_sampling=False)


def _rank(study: "Study", pool: Sequence[PoolEntry], seed: int) -> "NDArray[np.float64]":
    """The log of expected improvement for every entry; at random until there are trials enough."""
    import torch
    from optuna._gp import acqf, gp
    from optuna._gp.search_space import SearchSpace
    from optuna.trial import TrialState

    sampler = _build(seed)
    trials = study._get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.RUNNING))
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    running = [trial for trial in trials if trial.state == TrialState.RUNNING]
    if len(complete) < sampler._n_startup_trials:
        return at_random(study, pool, seed)
    known = {name: entry.distributions[name] for entry in pool for name in entry.params}
    known |= {name: distribution for trial in trials for name, distribution in trial.distributions.items()}
    space = SearchSpace({name: known[name] for name in sorted(known) if not known[name].single()})
    given: list[Mapping[str, Any]] = [trial.params for trial in (*complete, *running)]
    rows = _normalised(space, [*given, *(entry.params for entry in pool)])
    extra = rows.shape[1] - space.dim
    scores = np.array([trial.value for trial in complete])
    standardised = (scores - scores.mean()) / max(scores.std(), 1e-10)
    regressor = gp.fit_kernel_params(
        X=rows[: len(complete)],
        Y=standardised,
        is_categorical=np.append(space.is_categorical, np.ones(extra, dtype=bool)),
        log_prior=sampler._log_prior,
        minimum_noise=sampler._minimum_noise,
        deterministic_objective=False,
    )
    held, asked = np.split(rows[len(complete) :], [len(running)])
    if running:
        regressor.append_running_data(torch.from_numpy(held), regressor.posterior(torch.from_numpy(held))[0])
    return acqf.LogEI(regressor, space, float(standardised.max())).eval_acqf_no_grad(asked)


def _normalised(space: Any, params: Sequence[Mapping[str, Any]]) -> "NDArray[np.float64]":
    """Parameters scaled to 0..1 with the absent at the middle, then a column for each pattern of presence."""
    from optuna.distributions import CategoricalDistribution

    distributions = space._optuna_search_space
    any_value = {
        name: found.choices[0] if isinstance(found, CategoricalDistribution) else found.low
        for name, found in distributions.items()
    }
    rows = space.get_normalized_params(params, [any_value | dict(given) for given in params])
    there = np.array([[name in given for name in distributions] for given in params])
    rows[~there] = MIDDLE
    patterns = np.unique(there[:, ~there.all(axis=0)], axis=1).astype(float)
    return np.hstack([rows, patterns])


SAMPLER = Sampler(
    help="Gaussian process; models only the parameters that every trial has, and draws the others at random",
    build=lambda seed, scene: _build(seed),
    rank=_rank,
)
