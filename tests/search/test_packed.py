"""Searches whose workers train several trials at a time: what is decided, booked and lost is as without."""

from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from autodelta.candidate import Training
from autodelta.engine.assignment import WorkerSpec
from autodelta.engine.costs import PLAIN
from autodelta.engine.costs import Costs as PackCosts
from autodelta.files import Lines
from autodelta.search import events, request
from autodelta.search.cost import Costs
from autodelta.search.driver import search
from autodelta.search.ledger import WALL
from autodelta.search.placement import Place
from autodelta.search.request import Request
from autodelta.search.run import LEDGER_FILE, Run
from tests.search import fakes


def heard(tmp_path: Path, **changes: object) -> tuple[Run, list[events.Event]]:
    told: list[events.Event] = []
    settings = fakes.settings(packed=True, **changes)
    space = fakes.space(tmp_path, str(changes.get("space", fakes.SPACE)))
    return search(settings, space, folder=tmp_path / "run", events=told.append), told


def at_a_time(told: list[events.Event]) -> list[int]:
    """How many trials were under way, after each start and end."""
    found, running = [], 0
    for event in told:
        running += isinstance(event, events.TrialStarted) - isinstance(event, events.TrialEnded)
        found.append(running)
    return found


def test_trials_start_beside_others_and_score_what_they_score_alone(tmp_path: Path) -> None:
    packed, told = heard(tmp_path, budget="9trials", sampler="random")
    assert max(at_a_time(told)) == fakes.TOGETHER
    plain = search(fakes.settings(budget="9trials", sampler="random"), fakes.space(tmp_path), folder=tmp_path / "plain")
    assert [(t.candidate, t.seed, t.state, t.score) for t in packed.trials] == [
        (t.candidate, t.seed, t.state, t.score) for t in plain.trials
    ]


def test_one_that_is_pruned_leaves_the_others_where_they_are_and_another_takes_its_place(tmp_path: Path) -> None:
    run, told = heard(tmp_path, budget="20trials", pruner="asha", sampler="random")
    pruned = next(n for n, e in enumerate(told) if isinstance(e, events.TrialEnded) and e.trial.state == "pruned")
    started = {event.number for event in told[:pruned] if isinstance(event, events.TrialStarted)}
    going_on = [event.number for event in told[pruned:] if isinstance(event, events.TrialReported)]
    assert started & {*going_on}
    assert at_a_time(told)[pruned] == fakes.TOGETHER - 1
    assert max(at_a_time(told)[pruned + 1 : pruned + 3]) == fakes.TOGETHER
    assert {trial.state for trial in run.trials} == {"complete", "pruned"}


def test_what_goes_wrong_in_one_is_recorded_and_the_others_go_on(tmp_path: Path) -> None:
    run, _ = heard(tmp_path, budget="14trials", task="trouble", sampler="random", seed=8, space=fakes.SAFE)
    states = Counter((trial.methods, trial.state) for trial in run.trials)
    assert {state for (methods, state) in states if methods == ("lora",)} == {"failed"}
    assert {state for (methods, state) in states if methods == ("prompt",)} == {"infeasible"}
    assert {state for (methods, state) in states if methods == ("bitfit",)} == {"complete"}


def test_the_ledger_books_what_several_hold_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = fakes.Clock()
    monkeypatch.setattr(fakes.time, "sleep", clock.sleep)
    settings = fakes.settings(packed=True, budget="6trials", task="smooth:0.6", confirm_share=0.0)
    run = search(settings, fakes.space(tmp_path), folder=tmp_path / "run", clock=clock)
    rows = Lines(run.path / LEDGER_FILE).read()
    assert max(len(row.get("trials", ())) for row in rows) == fakes.TOGETHER
    held = sum(row["seconds"] for row in rows if row["kind"] != WALL)
    assert held == pytest.approx(clock.now - 100.0)
    assert held == pytest.approx(sum(trial.held_seconds for trial in run.trials))
    alone = sum(trial.device_seconds for trial in run.trials)
    assert alone == pytest.approx(fakes.GAIN * held)
    evaluated = sum(trial.curve[-1].evaluation_seconds for trial in run.trials)
    assert run.budget["by_kind"]["evaluation"] == pytest.approx(evaluated)
    assert sum(row["seconds"] for row in rows if row["kind"] == "evaluation") == pytest.approx(evaluated)


def test_a_trial_is_foreseen_to_cost_what_the_others_held_a_device_for_it(tmp_path: Path) -> None:
    run, _ = heard(tmp_path, budget="4trials", task="smooth:0.1")
    plan = Training(steps=40, batch_size=8)
    alone, packed = Costs(run.trials).seconds(plan), Costs(run.trials, packed=True).seconds(plan)
    assert alone is not None
    assert packed == pytest.approx(alone / fakes.GAIN)


def test_no_trial_starts_beside_others_that_is_foreseen_not_to_finish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = fakes.Clock()
    monkeypatch.setattr(fakes.time, "sleep", clock.sleep)
    settings = fakes.settings(packed=True, budget="5cpu-s", task="smooth:0.6", sampler="random")
    run = search(settings, fakes.space(tmp_path), folder=tmp_path / "run", clock=clock)
    assert sum(trial.state == "complete" for trial in run.trials) > 8  # more than would have gone one by one
    assert run.budget["spent"]["device_seconds"] < 5
    refused = [trial for trial in run.trials if trial.reason.startswith("budget:")]
    assert len(refused) <= 6


@pytest.mark.slow
def test_trials_whose_process_died_go_on_alone_and_only_the_guilty_one_fails(tmp_path: Path) -> None:
    told: list[events.Event] = []
    settings = fakes.settings(packed=True, budget="14trials", task="trouble", workers=2, sampler="random", seed=1)
    run = search(settings, fakes.space(tmp_path), folder=tmp_path / "run", events=told.append)
    assert max(at_a_time(told)) > 2
    by_state = {(trial.methods, trial.state) for trial in run.trials}
    assert {state for methods, state in by_state if methods == ("lora", "prompt")} == {"failed"}
    assert {state for methods, state in by_state if methods in {("bitfit",), ("bitfit", "prompt")}} == {"complete"}
    guilty = [trial for trial in run.trials if trial.methods == ("lora", "prompt")]
    assert {trial.lost for trial in guilty} == {2}
    innocent = [trial for trial in run.trials if trial.lost and trial not in guilty]
    assert {trial.lost for trial in innocent} <= {1}


def test_what_packs_cost_is_measured_where_the_trials_run(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = pytest.importorskip("autodelta.search.executors.ray.cluster")
    asked: list[tuple[str, str | None]] = []

    def measured(spec: WorkerSpec, *, address: str | None, **more: object) -> PackCosts:
        asked.append((spec.device, address))
        return PLAIN

    monkeypatch.setattr(cluster, "costs", measured)
    spec = WorkerSpec(backbone="nano", task="demo/entailment", device="cuda")
    wanted = Request(task="demo/entailment", budget="1trials", pack=True, address="auto")
    here = SimpleNamespace()  # a backbone on this machine, which is not looked at
    place = Place("ray", "cuda", workers=2, cluster=True)
    assert request._costs(wanted, place, spec, here, lambda event: None) is PLAIN  # type: ignore[arg-type]
    assert asked == [("cuda", "auto")]
