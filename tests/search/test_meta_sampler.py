"""The meta-learner as a sampler, in a plain Optuna study: past tasks on which LoRA of a high rank was best."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from autodelta.candidate import Candidate
from autodelta.meta import past
from autodelta.meta.problem import NoTransfer
from autodelta.meta.records import Table
from autodelta.search.kept import scene
from autodelta.search.samplers import Scene, meta, sampler
from autodelta.search.samplers.meta import MetaSampler
from autodelta.search.study import Study
from autodelta.space import Space
from tests.meta.pasts import FEATURES, a_past, learned, worth
from tests.search.fakes import SHAPE, SPACE, settings


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


@pytest.mark.parametrize(("budget", "timed"), [("20trials", False), ("20trials,1cpu-h", True), ("3min", True)])
def test_a_search_that_is_limited_in_time_asks_what_a_second_promises(
    space: Space, tmp_path: Path, budget: str, timed: bool
) -> None:
    assert scene(settings(budget=budget), space, tmp_path).timed == timed
