"""The space under Optuna's own samplers."""

import itertools
import warnings
from collections.abc import Iterator

import optuna
import pytest

from autodelta.candidate import Candidate
from autodelta.shape import BackboneShape
from autodelta.space import Infeasible, Space


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # Optuna warns of values outside of a distribution
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield
    optuna.logging.set_verbosity(level)


def _run(space: Space, sampler: optuna.samplers.BaseSampler, trials: int) -> tuple[optuna.Study, dict[int, Candidate]]:
    """A study whose score is best for LoRA alone at rank 4 and a small learning rate."""
    study = optuna.create_study(direction="maximize", sampler=sampler)
    suggested = {}
    for _ in range(trials):
        trial = study.ask()
        try:
            candidate = suggested[trial.number] = space.suggest(trial)
        except Infeasible:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            continue
        study.tell(trial, _score(candidate))
    return study, suggested


def _score(candidate: Candidate) -> float:
    return ("lora" in candidate.methods) - 0.3 * len(candidate.methods)


def test_grouped_multivariate_tpe_works_and_learns_which_method_is_good(small: BackboneShape) -> None:
    space = Space.load("default", small)
    sampler = optuna.samplers.TPESampler(seed=0, multivariate=True, group=True)
    study, suggested = _run(space, sampler, 50)
    late = [suggested[number] for number in sorted(suggested)[-15:]]
    assert sum(candidate.methods == ("lora",) for candidate in late) > 7
    for trial in study.trials:
        if trial.number in suggested:
            rebuilt = space.from_params(trial.params, cap=trial.user_attrs["cap"])
            assert rebuilt == suggested[trial.number]
            assert space.contains(rebuilt)


def test_parameters_are_those_of_the_methods_that_are_on(small: BackboneShape) -> None:
    space = Space.load("default", small)
    study, suggested = _run(space, optuna.samplers.RandomSampler(seed=1), 40)
    always = {"lora", "adapter", "bitfit", "prompt", "training.steps", "training.schedule", "training.weight_decay"}
    for number, candidate in suggested.items():
        params = study.trials[number].params
        assert always <= set(params)
        assert {name.partition(".")[0] for name in set(params) - always} == set(candidate.methods)
    assert {"lora.rank", "lora.blocks", "lora.stacks", "lora.roles", "lora.learning_rate"} <= set(
        itertools.chain.from_iterable(trial.params for trial in study.trials)
    )


def test_an_enqueued_candidate_is_suggested_as_it_is(small: BackboneShape) -> None:
    space = Space.load("smoke", small)
    study = optuna.create_study()
    for candidate in space.grid()[::7]:
        study.enqueue_trial(space.to_params(candidate), user_attrs={"cap": None})
        assert space.suggest(study.ask()) == candidate


@pytest.mark.parametrize("sampler", [optuna.samplers.NSGAIISampler, optuna.samplers.RandomSampler])
def test_two_directions_work(small: BackboneShape, sampler: type[optuna.samplers.BaseSampler]) -> None:
    space = Space.load("default", small)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler())
    for _ in range(20):
        trial = study.ask()
        try:
            candidate = space.suggest(trial)
        except Infeasible:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            continue
        study.tell(trial, [_score(candidate), candidate.count_parameters(small)])
    assert study.best_trials
