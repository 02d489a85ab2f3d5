"""Samplers that rank a pool do it by the acquisition of the Optuna sampler that they stand for."""

from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
import pytest
from numpy.typing import NDArray
from optuna._gp.search_space import SearchSpace
from optuna.distributions import BaseDistribution
from optuna.samplers import GPSampler, TPESampler

from autodelta.search.samplers import PoolEntry, names, sampler
from autodelta.search.storage import quiet

RANKING = tuple(name for name in names() if sampler(name).rank)
Objective = Callable[[optuna.Trial], float]


def conditional(trial: optuna.Trial) -> float:
    """Two branches that have parameters of their own, of every kind, and some that all trials have."""
    score = trial.suggest_float("x", 0.0, 1.0)
    if trial.suggest_categorical("branch", ["a", "b", None]) == "a":
        score -= abs(trial.suggest_float("a.rate", 1e-4, 1e-1, log=True) - 1e-2)
        score += trial.suggest_int("a.size", 1, 16, log=True) / 16
    else:
        score += 0.1 * trial.suggest_int("b.size", 0, 10, step=2)
    return score


def flat(trial: optuna.Trial) -> float:
    """Every trial has the same parameters."""
    kind = {"a": 0.0, "b": 0.3, "c": 1.0}[trial.suggest_categorical("kind", ["a", "b", "c"])]
    size = trial.suggest_int("size", 1, 16, log=True) / 16
    return kind - (trial.suggest_float("x", -1.0, 1.0) - 0.4) ** 2 + size


def a_study(objective: Objective, trials: int, *, running: int = 0) -> optuna.Study:
    """Trials at random; every fifth is pruned after a report; the last ones still run."""
    with quiet():
        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=5))
    for number in range(trials):
        trial = study.ask()
        score = objective(trial)
        if number >= trials - running:
            continue
        if number % 5 == 0:
            trial.report(score, 1)
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            study.tell(trial, score)
    return study


def a_pool(objective: Objective, entries: int) -> list[PoolEntry]:
    with quiet():
        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=9))
    study.optimize(objective, n_trials=entries)
    return [PoolEntry(trial.params, trial.distributions) for trial in study.trials]


def ranked(name: str, study: optuna.Study, pool: list[PoolEntry]) -> NDArray[np.float64]:
    rank = sampler(name).rank
    assert rank is not None
    return rank(study, pool, 3)


class SpiedTPE(TPESampler):
    """Keeps what it drew and what that was worth."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.seen: list[tuple[dict[str, Any], NDArray[np.float64]]] = []

    def _compute_acquisition_func(self, samples: dict[str, Any], below: Any, above: Any) -> NDArray[np.float64]:
        values = super()._compute_acquisition_func(samples, below, above)
        self.seen.append((samples, values))
        return values


@pytest.mark.parametrize("running", [0, 3])
def test_tpe_ranks_a_pool_as_tpe_ranks_its_own_draws(running: int) -> None:
    study = a_study(conditional, 40, running=running)
    distributions: dict[str, BaseDistribution] = {}
    for trial in study.trials:
        distributions |= trial.distributions
    with quiet():
        spied = SpiedTPE(seed=3, multivariate=True, group=True)
        trial = study._storage.create_new_trial(study._study_id)
        asked = study._storage.get_trial(trial)
        chosen = spied.sample_relative(study, asked, spied.infer_relative_search_space(study, asked))
        study.tell(asked.number, state=optuna.trial.TrialState.FAIL)
    assert len(spied.seen) == 3  # x and branch; what comes with a; what comes with b
    draws = [
        {
            name: distributions[name].to_external_repr(drawn[row])
            for samples, _ in spied.seen
            for name, drawn in samples.items()
        }
        for row in range(24)
    ]
    pool = [PoolEntry(params, distributions) for params in (*draws, chosen)]
    found = ranked("tpe", study, pool)
    np.testing.assert_allclose(found[:24], sum(values for _, values in spied.seen), rtol=1e-9)
    assert np.argmax(found) == 24


class SpiedGP(GPSampler):
    """Keeps the acquisition function that it would maximise."""

    acqf: Any = None

    def _optimize_acqf(self, acqf: Any, best_params: Any) -> NDArray[np.float64]:
        self.acqf = acqf
        return np.asarray(best_params[0])


def test_gp_ranks_a_pool_by_the_acquisition_of_optunas_gp() -> None:
    study, pool = a_study(flat, 30), a_pool(flat, 20)
    found = ranked("gp", study, pool)
    with quiet():
        spied = SpiedGP(seed=3)
        number = study._storage.create_new_trial(study._study_id)
        asked = study._storage.get_trial(number)
        spied.sample_relative(study, asked, spied.infer_relative_search_space(study, asked))
    space = SearchSpace(dict(sorted(pool[0].distributions.items())))
    rows = space.get_normalized_params([None] * 20, [dict(entry.params) for entry in pool])  # type: ignore[list-item]
    np.testing.assert_allclose(found, spied.acqf.eval_acqf_no_grad(rows), rtol=1e-6)


def test_gp_wants_an_entry_less_while_it_runs() -> None:
    study, pool = a_study(flat, 30), a_pool(flat, 20)
    before = ranked("gp", study, pool)
    first = int(np.argmax(before))
    study.enqueue_trial(dict(pool[first].params))
    flat(study.ask())
    after = ranked("gp", study, pool)
    assert after[first] < before[first] - 1
    assert np.argmax(after) != first


@pytest.mark.parametrize("name", ["tpe", "gp"])
def test_good_entries_come_first_though_not_all_have_the_same_parameters(name: str) -> None:
    pool = a_pool(conditional, 30)
    found = ranked(name, a_study(conditional, 40), pool)
    good = np.array([conditional(optuna.trial.FixedTrial(dict(entry.params))) for entry in pool])  # type: ignore[arg-type]
    assert np.isfinite(found).all()
    first, last = good[np.argsort(-found)[:4]], good[np.argsort(-found)[4:]]
    assert first.mean() > last.mean() + last.std()


@pytest.mark.parametrize("name", RANKING)
def test_the_first_trials_are_drawn_at_random(name: str) -> None:
    pool = a_pool(conditional, 12)
    found = ranked(name, a_study(conditional, 7), pool)
    np.testing.assert_array_equal(found, ranked("random", a_study(conditional, 0), pool))


@pytest.mark.parametrize("name", RANKING)
@pytest.mark.parametrize("running", [0, 3])
def test_a_ranking_follows_from_study_and_seed(name: str, running: int) -> None:
    study, pool = a_study(conditional, 30, running=running), a_pool(conditional, 12)
    found = ranked(name, study, pool)
    assert found.shape == (12,)
    np.testing.assert_array_equal(found, ranked(name, study, pool))
    backwards = ranked(name, study, pool[::-1])[::-1]
    assert name == "random" or np.allclose(found, backwards, rtol=1e-6)
