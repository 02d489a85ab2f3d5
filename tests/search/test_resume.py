from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from autodelta.engine import devices
from autodelta.engine.assignment import WorkerSpec
from autodelta.errors import UserError
from autodelta.search import driver, events, lock, placement, resuming
from autodelta.search.answer.entrants import Entrant, finalists
from autodelta.search.attempt import CHECKPOINT, WEIGHTS
from autodelta.search.confirmation import Results, run_folder
from autodelta.search.executors.local import InProcess
from autodelta.search.lock import driving
from autodelta.search.run import RESULT_FILE, RUN_FILE, Run, create
from autodelta.search.work import Work
from tests.search import fakes
from tests.search.cutting import cut_short


def begun(tmp_path: Path, **changes: object) -> Run:
    return driver.search(fakes.settings(**changes), fakes.space(tmp_path), folder=tmp_path / "run")


def gone_on_with(run: Run, tmp_path: Path, **changes: object) -> tuple[Run, list[events.Event]]:
    heard: list[events.Event] = []
    again = Run(run.path, fakes.settings(**changes))
    driver.take_up(again, fakes.space(tmp_path), events=heard.append)
    return again, heard


def told(run: Run) -> list[tuple[Any, ...]]:
    return [(t.number, t.candidate, t.seed, t.state, t.score) for t in run.trials]


def test_a_larger_budget_goes_on_where_the_search_ended(tmp_path: Path) -> None:
    first = begun(tmp_path, budget="6trials")
    before, spent = told(first), first.budget["spent"]["device_seconds"]
    best = first.best
    again, heard = gone_on_with(first, tmp_path, budget="10trials")
    assert next(event.trial for event in heard if isinstance(event, events.BestChanged)) == best
    assert told(again)[:6] == before
    assert len(again.trials) == 10
    assert again.result is not None
    assert again.result.trials == 10
    assert again.budget["spent"]["device_seconds"] > spent


def test_who_begins_to_listen_hears_what_is_best_so_far(tmp_path: Path) -> None:
    first = begun(tmp_path, budget="4trials")
    heard: list[events.Event] = []

    class Local(InProcess):
        def run(self, work: Work) -> None:
            work.listen(heard.append)  # as Ray's metrics do
            super().run(work)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("autodelta.search.executors.local.InProcess", Local)
        gone_on_with(first, tmp_path, budget="5trials")
    assert isinstance(heard[0], events.BestChanged)
    assert heard[0].trial == next(trial for trial in first.trials if trial.number == heard[0].trial.number)


def test_a_search_that_has_ended_is_not_done_again(tmp_path: Path) -> None:
    first = begun(tmp_path, budget="5trials")
    answer = (first.path / "result.json").read_bytes()
    confirmed = (first.path / "confirmation.jsonl").read_bytes()
    again, heard = gone_on_with(first, tmp_path, budget="5trials")
    assert told(again) == told(first)
    assert any(isinstance(event, events.Notice) and "has ended before" in event.text for event in heard)
    assert (first.path / "result.json").read_bytes() == answer
    assert (first.path / "confirmation.jsonl").read_bytes() == confirmed


@pytest.mark.parametrize("at", [events.TrialStarted, events.TrialReported])
def test_an_interrupted_search_ends_as_if_it_had_not_been(at: type[events.Event], tmp_path: Path) -> None:
    """The trial under way goes on under its own number, whether it has reported or not."""

    def interrupt(event: events.Event) -> None:
        if isinstance(event, at) and event.number == 2:  # type: ignore[attr-defined]
            raise KeyboardInterrupt

    settings, space = fakes.settings(budget="6trials"), fakes.space(tmp_path)
    whole = driver.search(settings, space, folder=tmp_path / "whole")
    first = driver.search(settings, space, folder=tmp_path / "run", events=interrupt)
    assert [(trial.number, trial.state) for trial in first.trials[2:]] == [(2, "running")]
    again, _ = gone_on_with(first, tmp_path, budget="6trials")
    assert told(again) == told(whole)
    assert again.result is not None
    assert whole.result is not None
    assert again.result.answer == whole.result.answer


def test_a_trial_that_the_budget_cut_short_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    def interrupt(event: events.Event) -> None:
        if isinstance(event, events.TrialReported) and event.number == 2:
            raise KeyboardInterrupt

    settings = fakes.settings(budget="5trials")
    first = driver.search(settings, fakes.space(tmp_path), folder=tmp_path / "run", events=interrupt)
    cut_short(first, fakes.space(tmp_path))
    assert first.trials[2].reason == "budget"
    assert (first.path / "trials" / "2" / CHECKPOINT).exists()
    again, heard = gone_on_with(first, tmp_path, budget="5trials")
    gone_on = again.trials[3]
    assert (gone_on.continues, gone_on.state) == (2, "complete")
    assert gone_on.candidate == again.trials[2].candidate
    assert gone_on.curve[: len(again.trials[2].curve)] == again.trials[2].curve
    reported = [event.step for event in heard if isinstance(event, events.TrialReported) and event.number == 3]
    assert reported == [point.step for point in gone_on.curve if point.step > again.trials[2].step]
    assert sum(trial.continues is None for trial in again.trials) == 5  # one trial in two parts
    assert not (first.path / "trials" / "2" / CHECKPOINT).exists()


def test_a_trial_that_was_cut_short_after_its_last_report_goes_on_under_hyperband_too(tmp_path: Path) -> None:
    """Trial 1 is of the bracket that begins at the last rung, where nothing is compared any more."""

    def interrupt(event: events.Event) -> None:
        if isinstance(event, events.TrialReported) and (event.number, event.step) == (1, event.steps):
            raise KeyboardInterrupt

    space = fakes.space(tmp_path, fakes.SPACE.replace("[40, 80]", "80"))
    settings = fakes.settings(pruner="hyperband", budget="8trials")
    run = driver.search(settings, space, folder=tmp_path / "run", events=interrupt)
    cut_short(run, space)
    assert (run.trials[1].state, run.trials[1].step, run.trials[1].reason) == ("pruned", 80, "budget")
    driver.take_up(run, space)
    assert (run.trials[2].state, run.trials[2].continues) == ("complete", 1)


def test_what_goes_on_with_a_trial_and_is_cut_short_at_once_keeps_its_checkpoint(tmp_path: Path) -> None:
    def at_a_report(event: events.Event) -> None:
        if isinstance(event, events.TrialReported):
            raise KeyboardInterrupt

    def at_a_start(event: events.Event) -> None:
        if isinstance(event, events.TrialStarted):
            raise KeyboardInterrupt

    settings, space = fakes.settings(budget="3trials"), fakes.space(tmp_path)
    run = driver.search(settings, space, folder=tmp_path / "run", events=at_a_report)
    cut_short(run, space)
    driver.take_up(run, space, events=at_a_start)
    cut_short(run, space)
    assert [(t.number, t.continues, t.state) for t in run.trials] == [(0, None, "pruned"), (1, 0, "pruned")]
    assert (run.path / "trials" / "1" / CHECKPOINT).exists()
    driver.take_up(run, space)
    assert (run.trials[2].continues, run.trials[2].state) == (1, "complete")
    assert [trial.state for trial in run.trials].count("complete") == 3


def test_what_was_cut_short_before_its_first_report_is_no_trial_of_the_budget(tmp_path: Path) -> None:
    def interrupt(event: events.Event) -> None:
        if isinstance(event, events.TrialStarted) and event.number == 2:
            raise KeyboardInterrupt

    settings = fakes.settings(budget="6trials", sampler="grid", repeats=2, space=fakes.FINITE)
    space = fakes.space(tmp_path, fakes.FINITE)
    first = driver.search(settings, space, folder=tmp_path / "run", events=interrupt)
    cut_short(first, space)
    assert [(t.state, t.step) for t in first.trials[2:]] == [("pruned", 0)]
    assert first.budget["spent"]["trials"] == 2
    driver.take_up(first, space)
    assert (first.trials[3].candidate, first.trials[3].seed) == (first.trials[2].candidate, first.trials[2].seed)
    assert [trial.state for trial in first.trials] == ["complete"] * 2 + ["pruned"] + ["complete"] * 4
    assert len({(trial.candidate, trial.seed) for trial in first.trials}) == 6  # the whole grid


def test_a_torn_checkpoint_means_that_the_trial_starts_again(tmp_path: Path) -> None:
    def interrupt(event: events.Event) -> None:
        if isinstance(event, events.TrialReported) and event.number == 1:
            raise KeyboardInterrupt

    settings = fakes.settings(budget="3trials")
    first = driver.search(settings, fakes.space(tmp_path), folder=tmp_path / "run", events=interrupt)
    cut_short(first, fakes.space(tmp_path))
    (first.path / "trials" / "1" / CHECKPOINT).write_text("{")
    again, _ = gone_on_with(first, tmp_path, budget="3trials")
    assert (again.trials[2].continues, again.trials[2].state) == (1, "complete")


def test_a_grid_that_is_done_is_confirmed_further_by_a_larger_budget(tmp_path: Path) -> None:
    """As is a search whose new time is too short for one more trial."""
    space = fakes.space(tmp_path, fakes.FINITE)
    settings = fakes.settings(budget="20trials", sampler="grid", repeats=1, confirm_share=0.1)
    first = driver.search(settings, space, folder=tmp_path / "run")
    seeds = [run.seed_index for run in Results(first.path).of(finalists_of(first))]
    again = Run(first.path, settings.model_copy(update={"budget": "1cpu-h"}))
    driver.take_up(again, space)
    assert [trial.state for trial in again.trials] == ["complete"] * 3
    more = Results(first.path).of(finalists_of(again))
    assert len(more) > len(seeds)
    assert all(run.test is not None for run in more)


def test_a_finalist_that_only_a_larger_budget_prefers_can_still_be_exported(tmp_path: Path) -> None:
    settings = fakes.settings(budget="1cpu-h", sampler="grid", repeats=1, space=fakes.FINITE)
    run = driver.search(settings, fakes.space(tmp_path, fakes.FINITE), folder=tmp_path / "run")
    entrants, done = finalists_of(run), Results(run.path).of(finalists_of(run))
    assert len(entrants) > 1
    for entrant in entrants:
        runs = [one for one in done if one.entrant == entrant.name]
        best = max(runs, key=lambda one: (one.validation or 0.0, -one.seed_index))
        kept = [one.seed_index for one in runs if (run_folder(run.path, entrant, one.seed_index) / WEIGHTS).exists()]
        assert kept == [best.seed_index]
    assert len(list(run.path.glob(f"confirmation/*/{WEIGHTS}"))) == len(entrants)  # and none of a baseline


def test_runs_that_there_was_no_time_to_score_keep_their_weights(tmp_path: Path) -> None:
    def interrupt(event: events.Event) -> None:
        if isinstance(event, events.EntrantConfirmed):
            raise KeyboardInterrupt

    settings = fakes.settings(budget="4trials")
    run = driver.search(settings, fakes.space(tmp_path), folder=tmp_path / "run", events=interrupt)
    entrants, done = finalists_of(run), Results(run.path).of(finalists_of(run))
    driver._clear(run.path, entrants, done)
    assert [(one.test, one.seed_index) for one in done] == [(None, 0)]
    assert len(list(run.path.glob(f"confirmation/*/{WEIGHTS}"))) == 1
    again, heard = gone_on_with(run, tmp_path, budget="4trials")
    assert not any(isinstance(event, events.Notice) for event in heard)
    assert again.result is not None
    assert again.result.answer.standings[0].test is not None


def finalists_of(run: Run) -> tuple[Entrant, ...]:
    return finalists(run.trials, rows=run.settings.rows["validation"], metric=run.settings.metric)


def test_a_torn_answer_is_one_line(tmp_path: Path) -> None:
    first = begun(tmp_path, budget="2trials")
    (first.path / RESULT_FILE).write_text('{"trials": 2, "ans')
    with pytest.raises(UserError, match=r"result\.json cannot be read: .*the run can be taken up again"):
        first.as_json()


def test_a_second_driver_is_refused_with_the_first_ones_host_and_process(tmp_path: Path) -> None:
    first = begun(tmp_path, budget="2trials")
    with driving(first.path), pytest.raises(UserError, match=r"another search works on run 'run': process \d+ on \S+"):
        gone_on_with(first, tmp_path, budget="4trials")
    gone_on_with(first, tmp_path, budget="4trials")


def test_a_run_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = begun(tmp_path, budget="2trials")
    with monkeypatch.context() as patch:
        patch.setattr(lock, "FILE", "no such folder/driver.lock")  # root may write anywhere but on a read-only mount
        with pytest.raises(UserError, match=r"cannot lock the run .*: No such file or directory; nothing was changed"):
            gone_on_with(first, tmp_path, budget="4trials")
    assert len(first.trials) == 2


def test_an_address_is_refused_for_a_search_that_goes_on_without_ray(tmp_path: Path) -> None:
    run = create(tmp_path / "run", fakes.settings())
    with pytest.raises(UserError, match="--address is Ray's: choose --executor ray"):
        resuming.resume(run.path, address="somewhere:6379")


def test_where_ray_is_not_installed_the_address_of_a_cluster_means_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "has_ray", lambda: False)
    monkeypatch.setenv("RAY_ADDRESS", "somewhere:6379")
    assert placement.place(executor=None, workers=2, device="cpu").executor == "local"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budget": "2gpu-h"}, "a budget in GPU time needs a GPU"),
        ({"workers": 0}, "at least 1"),
        ({"workers": "2"}, "workers: Input should be a valid integer, not '2'"),
        ({"budget": 3}, "budget: Input should be a valid string, not 3"),
        ({"executor": "rai"}, "unknown executor 'rai'; did you mean 'ray'"),
        ({}, "the executor 'ray' needs Ray"),
    ],
)
def test_a_mistake_in_taking_a_run_up_changes_nothing(
    changes: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placement, "has_ray", lambda: False)
    run = create(tmp_path / "run", fakes.settings(executor="ray"))
    before = (run.path / RUN_FILE).read_bytes()
    with pytest.raises(UserError, match=message):
        resuming.resume(run.path, **changes)
    assert (run.path / RUN_FILE).read_bytes() == before


@pytest.mark.parametrize("executor", ["local", "ray"])
def test_a_search_on_a_gpu_is_not_taken_up_where_there_is_none(
    executor: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "chosen", lambda asked: "cpu")
    monkeypatch.setattr(placement, "has_ray", lambda: True)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    settings = fakes.settings(executor=executor, workers=2)
    on_gpu = settings.worker.model_copy(update={"device": "cuda"})
    run = create(tmp_path / "run", settings.model_copy(update={"worker": on_gpu}))
    with pytest.raises(UserError, match="began on a GPU, but torch finds none here"):
        resuming.resume(run.path)


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        ("3cpu-min", "100trials", ["the budget 100trials is in place of 3cpu-min: no limit of cpu time is left"]),
        (
            "1h,2trials,1cpu-h",
            "2cpu-h",
            ["the budget 2cpu-h is in place of 1h,2trials,1cpu-h: no limit of trials, wall time is left"],
        ),
        ("2trials", "3trials,1h", []),
        ("2trials", None, []),
    ],
)
def test_a_limit_that_a_new_budget_has_not_any_more_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str, now: str | None, said: list[str]
) -> None:
    run = create(tmp_path / "run", fakes.settings(budget=before))
    for name in ("take_up", "_refuse_changed"):
        monkeypatch.setattr(resuming, name, lambda *_, **__: None)
    heard: list[events.Event] = []
    resuming.resume(run.path, budget=now, listener=heard.append)
    assert [str(event) for event in heard] == said


@pytest.mark.parametrize(
    ("began", "said"),
    [
        ({"fingerprint": "of others"}, "the rows of task 'fake' are not those that the search began with"),
        ({"backbone_sha256": "1"}, "the backbone 'fake' is not the one that the search began with"),
    ],
)
def test_a_search_is_not_taken_up_with_other_rows_or_another_backbone(
    began: dict[str, str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(WorkerSpec, "load_task", lambda spec: fakes.settings().worker.load_task())
    monkeypatch.setattr(WorkerSpec, "load_backbone", lambda spec: SimpleNamespace(sha256="0"))
    monkeypatch.setattr(resuming, "take_up", lambda *_, **__: None)
    resuming.resume(create(tmp_path / "same", fakes.settings()).path, budget="9trials")
    run = create(tmp_path / "run", fakes.settings(**began))
    before = (run.path / RUN_FILE).read_bytes()
    with pytest.raises(UserError, match=said):
        resuming.resume(run.path, budget="9trials")
    assert (run.path / RUN_FILE).read_bytes() == before


def test_a_search_is_not_taken_up_with_less(tmp_path: Path) -> None:
    resuming._refuse_less("1h,20trials", "2h,20trials")
    resuming._refuse_less("1h,20trials", "30trials")
    with pytest.raises(UserError, match="its own budget or a larger one: '1h,20trials', not '30min,40trials'"):
        resuming._refuse_less("1h,20trials", "30min,40trials")
