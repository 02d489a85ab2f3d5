from collections.abc import Iterator
from pathlib import Path

import pytest

from autodelta.errors import UserError
from autodelta.search import events
from autodelta.search.driver import search
from tests.search import fakes

ray = pytest.importorskip("ray")


@pytest.fixture(scope="module", autouse=True)
def _cluster() -> Iterator[None]:
    ray.init(num_cpus=2, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    yield
    ray.shutdown()


def test_ray_runs_the_same_study_and_survives_trials_that_kill_actors(tmp_path: Path) -> None:
    heard: list[events.Event] = []
    settings = fakes.settings(budget="12trials", task="trouble", workers=2, sampler="random", seed=1, executor="ray")
    run = search(settings, fakes.space(tmp_path), folder=tmp_path / "run", events=heard.append)
    assert len(run.trials) == 12
    by_methods = {trial.methods: trial for trial in run.trials}
    assert by_methods["lora", "prompt"].state == "failed"
    assert by_methods["lora", "prompt"].reason == "its worker process died"
    assert by_methods["prompt",].state == "infeasible"
    assert by_methods["lora",].reason == "ArithmeticError: the loss is nan at step 20"
    assert by_methods["bitfit",].state == "complete"
    assert run.test is not None
    assert run.weights(run.test.trial).is_file()
    assert sum(isinstance(event, events.TrialEnded) for event in heard) == 12
    assert not (run.path / "tune").exists()


def test_ray_works_from_relative_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = search(
        fakes.settings(budget="2trials", workers=2, sampler="random", executor="ray"),
        fakes.space(tmp_path),
        folder=Path("runs") / "relative",
    )
    assert run.test is not None
    assert run.weights(run.test.trial).is_file()


@pytest.mark.slow
def test_ray_and_local_train_the_same_first_trials(tmp_path: Path) -> None:
    runs = [
        search(
            fakes.settings(budget="4trials", sampler="random", executor=executor),
            fakes.space(tmp_path),
            folder=tmp_path / executor,
        )
        for executor in ("local", "ray")
    ]
    assert [(t.candidate, t.seed, t.score) for t in runs[0].trials] == [
        (t.candidate, t.seed, t.score) for t in runs[1].trials
    ]


@pytest.mark.slow
def test_a_wall_clock_budget_holds_on_ray(tmp_path: Path) -> None:
    run = search(
        fakes.settings(budget="25s", task="smooth:3", workers=2, executor="ray"),
        fakes.space(tmp_path),
        folder=tmp_path / "run",
    )
    assert run.budget["spent"]["wall_seconds"] < 60
    assert {trial.state for trial in run.trials} <= {"complete", "pruned"}
    assert run.test is not None


@pytest.mark.slow
def test_a_users_mistake_in_an_actor_is_a_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown backbone"):
        search(
            fakes.settings(workers=2, backbone="unknown", executor="ray"),
            fakes.space(tmp_path),
            folder=tmp_path / "run",
        )
    assert not (tmp_path / "run").exists()
