import itertools
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autodelta.engine.assignment import Assignment
from autodelta.engine.failures import Violated
from autodelta.engine.report import Report
from autodelta.errors import UserError
from autodelta.search import events, session
from autodelta.search.driver import search, take_up
from autodelta.search.ledger import read
from autodelta.search.run import LEDGER_FILE, Run
from autodelta.search.session import Session
from tests.search import fakes


def searched(tmp_path: Path, *, name: str = "run", space: str = fakes.SPACE, **changes: object) -> Run:
    return search(fakes.settings(**changes), fakes.space(tmp_path, space), folder=tmp_path / "runs" / name)


def on_a_clock(tmp_path: Path, patch: pytest.MonkeyPatch, *, space: str = fakes.SPACE, **changes: object) -> Run:
    """A search in which nothing takes time but the fakes' training."""
    clock = fakes.Clock()
    patch.setattr(fakes.time, "sleep", clock.sleep)
    settings = fakes.settings(**changes)
    return search(settings, fakes.space(tmp_path, space), folder=tmp_path / "runs" / "run", clock=clock)


def test_the_same_seed_gives_the_same_trials_and_scores_twice(tmp_path: Path) -> None:
    first, second = (searched(tmp_path, name=name, budget="13trials") for name in ("a", "b"))
    assert [(t.candidate, t.seed, t.score) for t in first.trials] == [
        (t.candidate, t.seed, t.score) for t in second.trials
    ]
    assert len(first.trials) == 13


def test_only_the_front_keeps_its_weights(tmp_path: Path) -> None:
    run = searched(tmp_path, budget="10trials")
    kept = sorted(int(path.parent.name) for path in run.path.glob("trials/*/delta.safetensors"))
    assert kept == sorted(trial.number for trial in run.front)
    assert run.best is not None
    assert run.weights(run.best.number).is_file()
    beaten = next(trial.number for trial in run.trials if trial.number not in kept)
    with pytest.raises(UserError, match=f"keeps no weights of trial {beaten}; it has those of: "):
        run.weights(beaten)
    for number in kept:  # somebody made room
        run.weights(number).unlink()
    with pytest.raises(UserError, match=f"keeps no weights of trial {kept[0]}; it has those of: none"):
        run.weights(kept[0])


def test_whatever_goes_wrong_in_a_trial_is_recorded_and_the_search_goes_on(tmp_path: Path) -> None:
    run = searched(tmp_path, budget="14trials", task="trouble", sampler="random", seed=8, space=fakes.SAFE)
    assert len(run.trials) == 14
    reasons = {trial.methods: (trial.state, trial.reason) for trial in run.trials}
    assert reasons[("lora",)] == ("failed", "ArithmeticError: the loss is nan at step 20")
    assert reasons[("prompt",)] == ("infeasible", "out of memory: 3 GiB more were needed")
    assert reasons[("bitfit",)] == ("complete", "")
    failed = next(trial for trial in run.trials if trial.methods == ("lora",))
    assert "ArithmeticError" in (run.path / "trials" / str(failed.number) / "traceback.txt").read_text()


def test_the_folder_of_a_running_trial_is_left_alone_while_it_is_empty(tmp_path: Path) -> None:
    """Its worker has made it, and is about to write its first checkpoint there."""
    found: list[bool] = []

    class Busy(fakes.FakeWorker):
        def save(self, path: Path, number: int) -> None:
            sessions[0].files.clear()
            found.append(path.parent.is_dir())

    class Spec(fakes.FakeSpec):
        def open(self) -> fakes.FakeWorker:  # type: ignore[override]
            return Busy("smooth")

    sessions: list[Session] = []
    plain = Session.__init__

    def kept(self: Session, *words: Any, **more: Any) -> None:
        plain(self, *words, **more)
        sessions.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Session, "__init__", kept)
        searched(tmp_path, budget="1trial", worker=Spec(backbone="fake", task="smooth"))
    assert found
    assert all(found)


def test_events_tell_the_whole_story(tmp_path: Path) -> None:
    heard: list[events.Event] = []
    run = search(fakes.settings(budget="6trials"), fakes.space(tmp_path), folder=tmp_path / "run", events=heard.append)
    counts = Counter(type(event) for event in heard)
    assert counts[events.TrialStarted] == counts[events.TrialEnded] == 6
    assert counts[events.TrialReported] == sum(len(trial.curve) for trial in run.trials) > 6
    assert isinstance(heard[0], events.SearchStarted)
    assert isinstance(heard[-1], events.SearchEnded)
    assert heard[-1].reason == "budget"
    bests = [event.trial for event in heard if isinstance(event, events.BestChanged)]
    assert run.best == bests[-1]
    assert all((a.score or 0) <= (b.score or 0) for a, b in itertools.pairwise(bests))
    assert counts[events.EntrantConfirmed] == 3
    assert counts[events.Answered] == 1
    lines = (run.path / "log").read_text().splitlines()
    assert len(lines) == len(heard) - counts[events.BudgetSpent]


def test_a_wall_clock_budget_stops_a_running_trial_at_its_next_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = on_a_clock(tmp_path, monkeypatch, budget="4s", task="smooth:0.8")
    assert {trial.state for trial in run.trials} <= {"complete", "pruned"}
    assert all(trial.reason.startswith("budget") for trial in run.trials if trial.state == "pruned")
    assert run.result is not None
    assert run.result.exported is not None
    assert run.budget["spent"]["wall_seconds"] < 4.8


def test_what_is_spent_is_written_down_while_a_trial_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, seen = fakes.FakeWorker.reports, []

    def slow(worker: fakes.FakeWorker, assignment: Assignment, start: Path | None) -> Iterator[Report]:
        until = time.monotonic() + 20
        while (spent := read(tmp_path / "runs" / "run" / LEDGER_FILE)["training"]) < 1 and time.monotonic() < until:
            time.sleep(0.1)
        seen.append(spent)
        yield from plain(worker, assignment, start)

    monkeypatch.setattr(fakes.FakeWorker, "reports", slow)
    run = searched(tmp_path, budget="1trials", confirm_share=0)
    assert seen[0] >= 1
    spent = run.budget["spent"]
    assert spent["device_seconds"] <= spent["wall_seconds"]


def test_no_trial_starts_that_is_foreseen_not_to_finish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = on_a_clock(tmp_path, monkeypatch, budget="2.5cpu-s", task="smooth:0.6", space=fakes.FINITE, sampler="random")
    assert [trial.state for trial in run.trials][:2] == ["complete", "complete"]
    assert all(trial.reason.startswith("budget") for trial in run.trials if trial.state == "pruned")
    assert run.budget["spent"]["device_seconds"] < 2.5


@pytest.mark.parametrize("seed", range(4))
def test_where_a_long_trial_cannot_finish_a_shorter_one_does(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trial of 40 steps takes 4 s, one of 400 takes 40 s; there are 20, of which the answer has 4."""
    space = fakes.SPACE.replace("[40, 80]", "[40, 120, 400]")
    run = on_a_clock(tmp_path, monkeypatch, space=space, budget="20s", task="paced:0.1", seed=seed, sampler="random")
    steps = {trial.number: trial.candidate.training.steps for trial in run.trials if trial.candidate}
    assert all(steps[trial.number] < 400 for trial in run.trials if trial.state == "complete")
    assert run.result is not None
    assert run.result.exported is not None
    for trial in run.trials:
        assert steps[trial.number] < 400 or len(trial.curve) <= 1  # none goes on that is known not to finish
    for trial, following in itertools.pairwise(run.trials):
        assert trial.candidate is not None
        assert following.candidate is not None
        tried = {before.candidate.deltas for before in run.trials[: trial.number] if before.candidate}
        if trial.refused and trial.candidate.deltas not in tried:  # the same with fewer steps
            assert following.candidate.deltas == trial.candidate.deltas
            assert steps[following.number] < steps[trial.number]


def test_a_budget_too_small_for_one_trial_is_an_error_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"the budget '1s' is too small for one trial; a trial takes about 9 s"):
        on_a_clock(tmp_path, monkeypatch, budget="1s", task="smooth:9")
    assert not (tmp_path / "runs" / "run").exists()


def test_a_budget_too_small_for_one_trial_is_refused_and_not_answered(tmp_path: Path) -> None:
    heard: list[events.Event] = []
    with pytest.raises(UserError, match="too small for one trial"):
        search(fakes.settings(budget="0.001s"), fakes.space(tmp_path), folder=tmp_path / "run", events=heard.append)
    assert [type(event) for event in heard if not isinstance(event, events.BudgetSpent)] == [events.SearchStarted]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budget": "0min"}, "above zero"),
        ({"budget": "1gpu-h"}, "needs a GPU"),
        ({"sampler": "tpee"}, "unknown sampler"),
        ({"sampler": "grid"}, "finite|endless|grid"),
        ({"backbone": "unknown"}, "unknown backbone"),
    ],
)
def test_a_mistake_changes_nothing(changes: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        searched(tmp_path, **changes)
    assert not (tmp_path / "runs" / "run").exists()


def test_an_interrupted_search_is_in_good_order(tmp_path: Path) -> None:
    def interrupt(event: events.Event) -> None:
        if isinstance(event, events.TrialReported) and event.number == 2:
            raise KeyboardInterrupt

    heard: list[events.Event] = []
    run = search(
        fakes.settings(budget="20trials"),
        fakes.space(tmp_path),
        folder=tmp_path / "run",
        events=lambda event: (heard.append(event), interrupt(event)),  # type: ignore[func-returns-value]
    )
    assert [(t.state, t.reason) for t in run.trials] == [("complete", "")] * 2 + [("running", "")]
    assert run.result is None
    assert isinstance(heard[-1], events.SearchEnded)
    assert heard[-1].reason == "interrupted"


def test_an_interrupt_while_test_is_scored_leaves_test_unscored(tmp_path: Path) -> None:
    run = searched(tmp_path, budget="2trials", task="interrupted")
    assert [trial.state for trial in run.trials] == ["complete", "complete"]
    assert run.result is None


def test_a_defect_leaves_the_trial_that_ran_to_whoever_takes_the_search_up_again(tmp_path: Path) -> None:
    def fail(event: events.Event) -> None:
        if isinstance(event, events.TrialReported):
            raise AssertionError("a defect in a listener")

    run = Run(tmp_path / "run", fakes.settings())
    with pytest.raises(AssertionError, match="a defect"):
        search(run.settings, fakes.space(tmp_path), folder=run.path, events=fail)
    assert [(trial.state, trial.reason) for trial in run.trials] == [("running", "")]
    take_up(run, fakes.space(tmp_path))
    assert run.trials[0].state == "complete"
    assert run.result is not None


@pytest.mark.parametrize("seed", range(6))
def test_without_confirmation_the_best_trial_of_which_weights_are_kept_is_handed_over(
    tmp_path: Path, seed: int
) -> None:
    """Of several trials of one candidate the front, which keeps its weights, may hold another than the first."""
    settings = fakes.settings(
        budget="20trials", sampler="grid", repeats=3, space=fakes.FINITE, pruner="none", seed=seed
    )
    settings = settings.model_copy(update={"confirm_share": 0.0})
    run = search(settings, fakes.space(tmp_path, fakes.FINITE), folder=tmp_path / "run")
    assert len(run.trials) == 9
    assert run.result is not None
    assert run.result.exported is not None
    assert (run.path / run.result.exported.weights).exists()
    assert run.best is not None
    assert run.best.score == max(trial.score for trial in run.front if trial.score is not None)
    assert run.result.answer.winner is not None


@pytest.mark.parametrize("seed", [1, 2])
def test_where_every_confirmation_broke_down_a_trial_of_which_weights_are_kept_is_handed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    plain = fakes.FakeWorker.reports

    def reports(worker: fakes.FakeWorker, assignment: Assignment, start: Path | None) -> Iterator[Report]:
        if assignment.number < 0:  # no trial
            raise ArithmeticError("the loss is nan")
        return plain(worker, assignment, start)

    monkeypatch.setattr(fakes.FakeWorker, "reports", reports)
    run = searched(tmp_path, budget="20trials", sampler="grid", repeats=3, space=fakes.FINITE, pruner="none", seed=seed)
    assert run.result is not None
    assert run.result.answer.verdicts == ("not confirmed",)
    assert run.result.exported is not None
    assert run.result.exported.name == run.result.answer.winner
    assert (run.path / run.result.exported.weights).exists()


def no_operator(worker: fakes.FakeWorker, assignment: Assignment, start: Path | None) -> Iterator[Report]:
    """In place of a worker's reports: nothing can be trained."""
    raise ArithmeticError("no such operator")
    yield


def test_trials_that_all_fail_alike_end_the_search_and_it_goes_on_once_that_is_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = fakes.FakeWorker.reports
    monkeypatch.setattr(fakes.FakeWorker, "reports", no_operator)
    with pytest.raises(UserError, match="first 5 trials all failed: ArithmeticError: no such operator"):
        searched(tmp_path, budget="40trials", sampler="random")
    run = Run(tmp_path / "runs" / "run", fakes.settings(budget="40trials", sampler="random"))
    assert [trial.state for trial in run.trials] == ["failed"] * 5
    monkeypatch.setattr(fakes.FakeWorker, "reports", plain)
    take_up(run, fakes.space(tmp_path))
    assert sum(trial.state == "complete" for trial in run.trials) > 10
    assert run.result is not None


def test_what_makes_all_trials_fail_does_not_break_down_the_finalists_of_a_search_that_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that broke down in confirmation is not tried again."""

    def interrupt(event: events.Event) -> None:
        if isinstance(event, events.TrialStarted) and event.number == 6:
            raise KeyboardInterrupt

    space = fakes.space(tmp_path)
    settings = fakes.settings(budget="12trials", sampler="random")
    run = search(settings, space, folder=tmp_path / "run", events=interrupt)
    with monkeypatch.context() as patch:
        patch.setattr(fakes.FakeWorker, "reports", no_operator)
        with pytest.raises(UserError, match="the last 5 trials all failed: ArithmeticError: no such operator"):
            take_up(run, space)
    take_up(run, space)
    assert run.result is not None
    assert [one.failure for one in run.result.answer.standings if one.failure] == []


def test_a_search_none_of_whose_candidates_can_be_trained_does_not_spend_its_budget_on_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def enter(worker: fakes.FakeWorker, assignment: Assignment, start: Path | None = None) -> None:
        raise Violated("memory", 2e9, 1e9)

    monkeypatch.setattr(session, "HOPELESS", 8)
    monkeypatch.setattr(fakes.FakeWorker, "enter", enter)
    with pytest.raises(UserError, match="none of the first 8 candidates could be trained, the last for 'memory: 2 GB"):
        searched(tmp_path, budget="40trials", sampler="random")
    run = Run(tmp_path / "runs" / "run", fakes.settings(budget="40trials", sampler="random"))
    assert [trial.state for trial in run.trials] == ["infeasible"] * 8


def test_a_search_that_completes_nothing_has_no_best_and_no_test(tmp_path: Path) -> None:
    only_lora = fakes.FINITE.replace("  bitfit: {learning_rate: 0.001, roles: self_attn.q}\n", "")
    run = searched(tmp_path, budget="2trials", task="trouble", space=only_lora, sampler="random")
    assert [trial.state for trial in run.trials] == ["failed", "failed"]
    assert (run.best, run.front) == (None, [])
    assert run.result is not None
    assert (run.result.exported, run.as_json()["test"]) == (None, None)
    assert run.as_json()["lines"] == ["no trial came to its end: there is nothing to recommend"]
