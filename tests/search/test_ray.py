"""Searches on Ray, on this machine; every actor takes seconds to start, so each search shows several things."""

import importlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autodelta.engine.assignment import Assignment, WorkerSpec
from autodelta.engine.report import Report
from autodelta.errors import UserError
from autodelta.files import Lines
from autodelta.search import confirmation, events, outlook
from autodelta.search.driver import search
from autodelta.search.run import LEDGER_FILE
from tests.search import fakes, killing

pytest.importorskip("ray")

import ray

from autodelta.search.executors.ray import tuning
from autodelta.search.executors.ray.seat import Seat

pytestmark = pytest.mark.slow

OPENED, SEATS = "opened", "seats"
COURSE = events.TrialStarted | events.TrialReported | events.TrialEnded | events.EntrantConfirmed


class WritingSpec(fakes.FakeSpec):
    """Its worker writes down, in ``data``, that it was opened, and which process has which trial."""

    def open(self) -> "WritingWorker":  # type: ignore[override]
        assert self.data is not None
        with (self.data / OPENED).open("a") as file:
            file.write(f"{os.getpid()}\n")
        return WritingWorker(self.task, self.data)


class WritingWorker(fakes.FakeWorker):
    def __init__(self, task: str, folder: Path) -> None:
        super().__init__(task)
        self.folder = folder

    def enter(self, assignment: Assignment, *, start: Path | None = None) -> None:
        with (self.folder / f"trial{assignment.number}").open("a") as file:
            file.write(f"{os.getpid()}\n")
        super().enter(assignment, start=start)


class WatchedSeat(Seat):
    """Writes down, next to the run, what its process has loaded when an order has ended."""

    def step(self) -> dict[str, Any]:
        result = super().step()
        if result.get("done"):
            with (self._sealed.order.folder.parents[2] / SEATS).open("a") as file:
                file.write(f"{'torch' in sys.modules}\n")
        return result


class HangingSpec(fakes.FakeSpec):
    """Its worker hangs after its first report where there is a prompt."""

    def open(self) -> "HangingWorker":  # type: ignore[override]
        importlib.import_module("torch")  # as a real one does; it may take longer than this one may be silent
        return HangingWorker(self.task)


class HangingWorker(fakes.FakeWorker):
    def reports(self, assignment: Assignment, start: Path | None) -> Iterator[Report]:
        for report in super().reports(assignment, start):
            if report.done and "prompt" in assignment.candidate.methods:
                time.sleep(1000)
            yield report


@pytest.fixture(scope="module", autouse=True)
def _cluster() -> Iterator[None]:
    quiet = {"include_dashboard": False, "logging_level": "ERROR", "log_to_driver": False}
    ray.init("local", num_cpus=2, num_gpus=1, **quiet)
    yield
    ray.shutdown()


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker on a busy machine may be silent for minutes where it loads torch for the first weights that it saves."""
    for module in (outlook, confirmation):
        monkeypatch.setattr(module, "patience", lambda expected: 900.0)


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
    assert run.result is not None
    assert run.result.exported is not None
    assert (run.path / run.result.exported.weights).is_file()
    assert sum(isinstance(event, events.TrialEnded) for event in heard) == 12
    steps = [(event.number, event.step) for event in heard if isinstance(event, events.TrialReported)]
    assert len(steps) == len(set(steps))
    assert run.budget["by_kind"]["training"] > 0
    assert not (run.path / "tune").exists()


def test_an_engine_opens_once_for_all_phases_and_clients_hold_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And relative paths do."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tuning, "Seat", WatchedSeat)
    spec = WritingSpec(backbone="fake", task="smooth", data=tmp_path)
    run = search(
        fakes.settings(budget="2trials", workers=2, sampler="random", executor="ray", worker=spec),
        fakes.space(tmp_path),
        folder=Path("runs") / "relative",
    )
    assert run.result is not None
    assert run.result.exported is not None
    assert (run.path / run.result.exported.weights).is_file()
    assert run.result.answer.standings[0].test is not None
    assert len((tmp_path / OPENED).read_text().split()) == 2
    assert {*(tmp_path / "runs" / SEATS).read_text().split()} == {"False"}


def test_a_trial_whose_engine_is_killed_goes_on_from_its_last_rung_on_another(tmp_path: Path) -> None:
    heard: list[events.Event] = []
    steps: list[int] = []

    def listen(event: events.Event) -> None:
        heard.append(event)
        if isinstance(event, events.TrialReported) and event.number == 0:
            steps.append(event.step)
            if len(steps) == 1:
                os.kill(int((tmp_path / "trial0").read_text()), signal.SIGKILL)

    spec = WritingSpec(backbone="fake", task="smooth:2", data=tmp_path)
    run = search(
        fakes.settings(budget="3trials", workers=2, sampler="random", executor="ray", worker=spec),
        fakes.space(tmp_path),
        folder=tmp_path / "run",
        events=listen,
    )
    assert [(trial.state, trial.lost) for trial in run.trials] == [("complete", 1), ("complete", 0), ("complete", 0)]
    first, second = (tmp_path / "trial0").read_text().split()
    assert first != second
    assert steps == [point.step for point in run.trials[0].curve]  # each once: the checkpoint held the first
    assert sum("its worker process died; it goes on from its last rung" in str(event) for event in heard) == 1
    assert len((tmp_path / OPENED).read_text().split()) >= 3  # two, one in the place of the dead, and for later phases


def test_an_engine_that_trains_several_tells_the_story_of_a_local_worker(tmp_path: Path) -> None:
    stories, courses = [], []
    for executor in ("local", "ray"):
        heard: list[events.Event] = []
        settings = fakes.settings(budget="10trials", pruner="asha", executor=executor, packed=True)
        run = search(settings, fakes.space(tmp_path), folder=tmp_path / executor, events=heard.append)
        stories.append(killing.story(run))
        courses.append([str(event) for event in heard if isinstance(event, COURSE)])
    assert stories[0] == stories[1]
    assert courses[0] == courses[1]
    rows = Lines(tmp_path / "ray" / LEDGER_FILE).read()
    assert max(len(row.get("trials", ())) for row in rows) == fakes.TOGETHER


def test_a_worker_that_falls_silent_is_ended_and_its_trial_goes_on_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outlook, "patience", lambda expected: 6.0)
    heard: list[events.Event] = []
    settings = fakes.settings(
        budget="2trials", sampler="random", executor="ray", worker=HangingSpec(backbone="fake", task="smooth")
    )
    run = search(settings, fakes.space(tmp_path), folder=tmp_path / "run", events=heard.append)
    assert [trial.methods for trial in run.trials] == [("prompt",), ("bitfit",)]
    assert [trial.state for trial in run.trials] == ["failed", "complete"]
    assert run.trials[0].reason.startswith("its worker was silent for ")
    assert run.trials[0].step > 0  # the second worker went on from the first one's checkpoint
    assert sum("it goes on from its last rung" in str(event) for event in heard) == 1


def test_two_workers_share_one_gpu(tmp_path: Path) -> None:
    """Ray only counts the GPU here, and the workers are fakes that do not use it."""
    heard: list[events.Event] = []
    spec = fakes.FakeSpec(backbone="fake", task="smooth:3", device="cuda")
    run = search(
        fakes.settings(budget="2trials", worker=spec, workers=2, gpus_per_worker=0.5, executor="ray"),
        fakes.space(tmp_path),
        folder=tmp_path / "run",
        events=heard.append,
    )
    assert [trial.state for trial in run.trials] == ["complete"] * 2
    kinds = [type(event) for event in heard if isinstance(event, events.TrialStarted | events.TrialEnded)]
    assert kinds == [events.TrialStarted, events.TrialStarted, events.TrialEnded, events.TrialEnded]


def test_a_folder_comes_from_the_node_that_sees_it(tmp_path: Path) -> None:
    from autodelta.search.executors.ray import shipping

    (tmp_path / "support").mkdir()
    (tmp_path / "support" / "train.jsonl").write_bytes(b"rows")
    spec = WorkerSpec(backbone="nano", task="support", data=tmp_path)
    (sent,) = shipping.shipments(spec, ray.get_runtime_context().get_node_id())
    assert shipping._fetched(sent) == {"train.jsonl": b"rows"}


def test_workers_that_die_before_they_are_ready_end_the_search(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="die before they are ready"):
        search(
            fakes.settings(workers=2, backbone="dies", executor="ray"),
            fakes.space(tmp_path),
            folder=tmp_path / "run",
        )


def test_ctrl_c_ends_a_search_on_ray_in_good_order(tmp_path: Path) -> None:
    def interrupt(event: events.Event) -> None:
        if isinstance(event, events.TrialReported):
            raise KeyboardInterrupt

    run = search(
        fakes.settings(workers=2, task="smooth:4", executor="ray"),
        fakes.space(tmp_path),
        folder=tmp_path / "run",
        events=interrupt,
    )
    assert {(trial.state, trial.reason) for trial in run.trials} == {("running", "")}


def test_tensorboard_has_each_trial_in_the_runs_folder(tmp_path: Path) -> None:
    run = search(
        fakes.settings(budget="2trials", sampler="random", executor="ray", log=("tensorboard",)),
        fakes.space(tmp_path),
        folder=tmp_path / "run",
    )
    trials = {path.parent.name for path in (run.path / "tensorboard").glob("*/events.out.*")}
    assert {"trials-0", "trials-1"} < trials


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


def test_a_wall_clock_budget_holds_on_ray(tmp_path: Path) -> None:
    run = search(
        fakes.settings(budget="25s", task="smooth:3", workers=2, executor="ray"),
        fakes.space(tmp_path),
        folder=tmp_path / "run",
    )
    assert run.budget["spent"]["wall_seconds"] < 60
    assert {trial.state for trial in run.trials} <= {"complete", "pruned"}
    assert run.result is not None


def test_a_users_mistake_in_an_actor_is_a_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown backbone"):
        search(
            fakes.settings(workers=2, backbone="unknown", executor="ray"),
            fakes.space(tmp_path),
            folder=tmp_path / "run",
        )
    assert not (tmp_path / "run").exists()
