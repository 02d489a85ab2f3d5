"""The meta-learner as a sampler, in a plain Optuna study: past tasks on which LoRA of a high rank was best."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from autodelta.candidate import Candidate
from autodelta.engine.report import Report
from autodelta.meta import past
from autodelta.meta.problem import NoTransfer
from autodelta.meta.records import Table
from autodelta.search.kept import scene
from autodelta.search.records import Outcome
from autodelta.search.samplers import Scene, meta, sampler
from autodelta.search.samplers.meta import MetaSampler
from autodelta.search.study import Study
from autodelta.search.transfer import fitted
from autodelta.space import Space
from tests.meta.pasts import FEATURES, a_past, learned, worth
from tests.search.fakes import SHAPE, SPACE, settings

ONE = """
description: One method, of which one size keeps the constraint.
methods:
  lora:
    learning_rate: 0.001
    roles: [self_attn.q]
    sizes: {rank: [1, 512]}
training:
  steps: 40
  batch_size: 8
constraints: {trainable_parameters: "<= 5%"}
"""


def report(step: int, score: float) -> Report:
    return Report(step=step, score=score, train_loss=1.0, device_seconds=1.0, done=False)


@pytest.fixture(scope="module")
def space() -> Space:
    return Space.of_text(SPACE, SHAPE, name="small")


@pytest.fixture(scope="module")
def table(space: Space) -> Table:
    return a_past(space)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, table: Table) -> Path:
    return learned(tmp_path_factory.mktemp("past"), table)


def searched(scene: Scene, trials: int, seed: int = 0) -> tuple[list[Candidate], optuna.Study]:
    """A plain study whose sampler is built anew at each ask, as ours is."""
    study = optuna.create_study(direction="maximize")
    found = []
    for number in range(trials):
        study.sampler = MetaSampler(scene, seed + number)
        trial = study.ask()
        found.append(scene.space.suggest(trial))
        study.tell(trial, worth(found[-1]))
    return found, study


def test_its_first_trials_are_better_than_chance(space: Space, model: Path) -> None:
    rng = np.random.default_rng(5)
    chance = np.array([worth(space.sample(rng)) for _ in range(400)])
    first = [worth(searched(Scene(space, FEATURES, model), 1, seed)[0][0]) for seed in range(0, 60, 10)]
    assert np.mean(first) > np.quantile(chance, 0.75)


def test_no_candidate_is_tried_twice_and_the_same_seed_chooses_the_same(space: Space, model: Path) -> None:
    scene = Scene(space, FEATURES, model)
    found, _ = searched(scene, 12)
    assert len(set(found)) == 12
    assert searched(scene, 12)[0] == found
    assert max(map(worth, found)) > 0.7  # LoRA of rank 4 without a prompt


def test_a_sampler_that_is_asked_again_draws_other_candidates(
    space: Space, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In somebody's own study one sampler lasts for all trials; ours is built anew at each ask."""
    proposed, rates = meta.proposed, []

    def noted(*args: Any, **kwargs: Any) -> Iterator[Candidate]:
        pool = list(proposed(*args, **kwargs))
        rates.append({delta.learning_rate for candidate in pool for delta in candidate.deltas})
        return iter(pool)

    monkeypatch.setattr(meta, "proposed", noted)
    study = optuna.create_study(direction="maximize", sampler=MetaSampler(Scene(space, FEATURES, model), 0))
    study.optimize(lambda trial: worth(space.suggest(trial)), n_trials=2)
    assert len(rates[0] & rates[1]) < len(rates[0]) / 2


def test_parameters_beside_those_of_the_chosen_candidate_are_drawn(space: Space, model: Path) -> None:
    scene = Scene(space, FEATURES, model)
    study = optuna.create_study(direction="maximize", sampler=MetaSampler(scene, 0))
    for name in space.methods:  # whatever is chosen, one of these is not
        study.enqueue_trial(space.keys([name]))
        trial = study.ask()
        found = space.suggest(trial)
        assert found.methods == (name,)
        assert 0 <= trial.suggest_float("of the objective itself", 0, 1) <= 1
        study.tell(trial, worth(found))
        assert meta.candidate(scene, study.trials[-1]) == found


def test_without_features_the_shared_prior_serves(space: Space, model: Path) -> None:
    found, _ = searched(Scene(space, None, model), 4)
    assert max(map(worth, found)) > 0.6


def test_trials_that_run_or_were_stopped_are_known(space: Space, model: Path) -> None:
    study = optuna.create_study(direction="maximize")
    found = []
    for number in range(6):
        study.sampler = MetaSampler(Scene(space, FEATURES, model), number)
        trial = study.ask()
        found.append(space.suggest(trial))
        if number % 3 == 1:
            trial.report(worth(found[-1]), step=13)
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        elif number % 3 == 2:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
    assert len(set(found)) == 6


def test_where_the_past_says_nothing_the_search_goes_on_without_it(
    space: Space, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(past, "BUNDLED", tmp_path / "none")
    with pytest.raises(NoTransfer, match="no fitted meta-learner"):
        MetaSampler(Scene(space), 0)
    with pytest.raises(NoTransfer, match="has no feature"):
        MetaSampler(Scene(space, {"log_train_rows": 1.0}, model), 0)
    study = Study(None, space, sampler=sampler("meta"), seed=1)
    assert study.ask() is not None


def test_our_study_asks_it(space: Space, model: Path) -> None:
    study = Study(None, space, sampler=sampler("meta"), seed=1, scene=Scene(space, FEATURES, model))
    asked = [study.ask() for _ in range(3)]
    found = [assignment.candidate for assignment in asked if assignment is not None]
    assert len(set(found)) == 3
    assert any("lora" in candidate.methods for candidate in found)


def test_what_a_second_promises_counts_where_it_is_asked_for(space: Space, model: Path, tmp_path: Path) -> None:
    assert not scene(settings(budget="3min"), space, tmp_path).per_second  # a search asks what a trial promises
    asked = []
    for per_second in (False, True):
        known = Scene(space, FEATURES, model, per_second=per_second)
        asked.append(meta.observed(fitted(known), known, []).per_second)
    assert asked == [False, True]


@pytest.mark.parametrize("early", [(0.3, 0), (float("nan"), 10)])
def test_a_report_before_the_first_step_or_of_no_number_ends_no_study(
    space: Space, model: Path, early: tuple[float, int]
) -> None:
    def objective(trial: optuna.Trial) -> float:
        found = space.suggest(trial)
        trial.report(*early)
        if trial.number % 2:
            raise optuna.TrialPruned
        return worth(found)

    study = optuna.create_study(direction="maximize", sampler=MetaSampler(Scene(space, FEATURES, model), 0))
    study.optimize(objective, n_trials=5)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "PRUNED", "COMPLETE", "PRUNED", "COMPLETE"]


def test_a_trial_that_goes_on_with_a_stopped_one_is_known_once(space: Space, model: Path) -> None:
    known = Scene(space, FEATURES, model)
    study = Study(None, space, sampler=sampler("meta"), seed=1, scene=known, can_continue=lambda number: True)
    first = study.ask()
    assert first is not None
    study.report(first.number, report(step=5, score=0.3))
    study.tell(first.number, Outcome(state="pruned", reason="budget"))
    again = study.ask(only_continue=True)
    assert again is not None
    assert study.trial(again.number).continues == first.number
    tried = {trial.number: meta.candidate(known, trial) for trial in study._study.get_trials()}
    standing = meta._standing(fitted(known), known, study._study, tried)
    assert (len(standing), standing.begun) == (1, 1)


def test_trials_that_run_count_as_begun_and_tell_nothing(space: Space, model: Path) -> None:
    known = Scene(space, FEATURES, model)
    study = Study(None, space, sampler=sampler("meta"), seed=1, scene=known)
    asked = [study.ask() for _ in range(4)]
    assert asked[0] is not None
    study.report(asked[0].number, report(step=5, score=0.3))
    tried = {trial.number: meta.candidate(known, trial) for trial in study._study.get_trials()}
    standing = meta._standing(fitted(known), known, study._study, tried)
    assert (len(standing), standing.begun) == (1, 4)


def test_a_candidate_without_a_neighbour_does_not_end_a_search(model: Path) -> None:
    """The higher rank breaks the constraint, so that there is one candidate, and no other to go to."""
    narrow = Space.of_text(ONE, SHAPE, name="narrow")
    found, _ = searched(Scene(narrow, FEATURES, model), 4)
    assert len(found) == 4
