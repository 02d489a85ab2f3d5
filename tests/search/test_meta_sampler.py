"""The meta-learner as a sampler, in a plain Optuna study: past tasks on which LoRA of a high rank was best."""

from pathlib import Path

import numpy as np
import optuna
import pytest
from typer.testing import CliRunner

from autodelta.candidate import Candidate
from autodelta.cli import app
from autodelta.meta import fitting
from autodelta.meta.compositions import layout, sources
from autodelta.meta.fitting import fit
from autodelta.meta.problem import NoTransfer
from autodelta.meta.records import About, Point, Table, write_about, write_shard, write_tasks
from autodelta.meta.saved import save
from autodelta.meta.training import Settings
from autodelta.search.samplers import Scene, sampler
from autodelta.search.samplers.meta import MetaSampler
from autodelta.search.study import Study
from autodelta.space import Space
from tests.meta.tables import record, task_features
from tests.search.fakes import SHAPE, SPACE

QUICK = Settings(steps=150, tasks=8, members=2, hidden=24, heads=8, embedding=4)
TASKS, CANDIDATES = 8, 24
FEATURES = dict.fromkeys(layout().features, 0.5)
ABOUT = About(
    backbone="tiny", backbone_sha256="0", dtype="fp32", shape=SHAPE, space="s", space_text=SPACE, seed=1, curve=(40,)
)


@pytest.fixture(scope="module")
def space() -> Space:
    return Space.of_text(SPACE, SHAPE, name="small")


def worth(candidate: Candidate) -> float:
    """LoRA is good, the more the higher its rank and the rate; a prompt is not."""
    found = 0.5
    for delta in candidate.deltas:
        if delta.method == "lora":
            found += 0.1 + 0.02 * delta.config.rank + 0.03 * np.log10(delta.learning_rate / 1e-4)
        elif delta.method == "prompt":
            found -= 0.1
    return float(found)


@pytest.fixture(scope="module")
def table(space: Space) -> Table:
    """Eight tasks, whose scores differ in level and scale."""
    rng = np.random.default_rng(0)
    records, known = [], {}
    for number in range(TASKS):
        task, level, scale = f"task{number}", rng.uniform(-0.2, 0.2), rng.uniform(0.5, 1.5)
        known[task] = task_features(task, **{name: float(rng.uniform()) for name in FEATURES})
        for candidate in dict.fromkeys(space.sample(rng) for _ in range(CANDIDATES)):
            score = level + scale * worth(candidate) + rng.normal(0, 0.002)
            point = Point(step=candidate.training.steps, score=score, train_loss=1.0, device_seconds=4.0)
            records.append(record(task=task, candidate=candidate, curve=(point,), test=score))
    return Table(records=tuple(records), tasks=known, about=ABOUT)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, table: Table) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save(fit(sources(table), QUICK), folder)
    return folder


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


def test_where_the_past_says_nothing_the_search_goes_on_without_it(space: Space, model: Path) -> None:
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


def test_fitting_from_the_command_line(
    tmp_path: Path, table: Table, space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "table").mkdir()
    write_shard(tmp_path / "table", table.records)
    write_tasks(tmp_path / "table", table.tasks.values())
    write_about(tmp_path / "table", ABOUT)
    monkeypatch.setattr(fitting, "Settings", lambda: QUICK)
    words = ["meta", "fit", "--table", str(tmp_path / "table"), "--to", str(tmp_path / "fitted")]
    said = CliRunner().invoke(app, words, catch_exceptions=False)
    assert (said.exit_code, "learned from 8 tasks" in said.output) == (0, True)
    assert len(searched(Scene(space, FEATURES, tmp_path / "fitted"), 1)[0]) == 1
    again = CliRunner().invoke(app, words)
    assert (again.exit_code, again.stderr.count("\n")) == (2, 1)
    assert "is there already" in again.stderr


def test_too_few_tasks_are_one_line(tmp_path: Path, table: Table) -> None:
    (tmp_path / "table").mkdir()
    write_shard(tmp_path / "table", table.of("task0"))
    write_tasks(tmp_path / "table", table.tasks.values())
    write_about(tmp_path / "table", ABOUT)
    words = ["meta", "fit", "--table", str(tmp_path / "table"), "--to", str(tmp_path / "fitted")]
    said = CliRunner().invoke(app, words)
    assert (said.exit_code, said.stderr.count("\n")) == (2, 1)
    assert "nothing can be learned" in said.stderr
    assert not (tmp_path / "fitted").exists()
