"""A search that ends because another trial is not worth its cost."""

from dataclasses import replace
from pathlib import Path

import pytest

from autodelta.errors import UserError
from autodelta.search import search as search_from_python
from autodelta.search import transfer
from autodelta.search.driver import search, take_up
from autodelta.search.events import Event, Notice, SearchEnded
from autodelta.search.front import best
from autodelta.search.kept import scene
from autodelta.search.records import TrialRecord
from autodelta.search.run import Run, open_run
from autodelta.search.samplers import Scene, meta
from autodelta.search.worth import LEAST, worth
from autodelta.space import Space
from tests.meta.pasts import FEATURES, a_past, learned
from tests.search import fakes, tables
from tests.search.test_ends import a_trial

SPACE = Space.of_text(fakes.SPACE, fakes.SHAPE, name="small")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return learned(tmp_path_factory.mktemp("past"), a_past(SPACE))


def ended(model: Path, folder: Path, threshold: float) -> tuple[int, list[Event]]:
    """How many trials a search of at most 20 comes to."""
    told: list[Event] = []
    settings = fakes.settings(
        budget="20trials", sampler="meta", meta=model, features=FEATURES, confirm_share=0.0,
        stop_when_worth_less=threshold,
    )  # fmt: skip
    run = search(settings, fakes.space(folder), folder=folder / "run", events=told.append)
    return sum(trial.counts for trial in run.trials), told


def test_a_search_ends_with_its_reason_when_nothing_promises_enough(model: Path, tmp_path: Path) -> None:
    trials, told = ended(model, tmp_path, 0.5)  # nothing can gain a half
    assert trials == LEAST
    last = told[-1]
    assert isinstance(last, SearchEnded)
    assert last.reason == "another trial is not worth its cost"
    said = [event.text for event in told if isinstance(event, Notice)]
    assert sum("is expected to gain" in text and "less than 0.5" in text for text in said) == 1
    result = open_run("run", tmp_path).result
    assert result is not None
    assert "less than 0.5" in result.ended_early
    assert "less than 0.5" in open_run("run", tmp_path).as_json()["ended_early"]
    again = fakes.settings(budget="20trials", sampler="meta", meta="meta", features=FEATURES, confirm_share=0.0)
    take_up(Run(tmp_path / "run", again), fakes.space(tmp_path))
    assert sum(trial.counts for trial in open_run("run", tmp_path).trials) == 20


def test_a_search_that_nothing_was_worth_goes_on_by_another_rule_and_not_by_more_budget(
    model: Path, tmp_path: Path
) -> None:
    ended(model, tmp_path, 0.5)
    told: list[Event] = []
    again = fakes.settings(
        budget="20trials", sampler="meta", meta="meta", features=FEATURES, confirm_share=0.0, stop_when_worth_less=0.5
    )
    take_up(Run(tmp_path / "run", again), fakes.space(tmp_path), events=told.append)
    said = [event.text for event in told if isinstance(event, Notice)]
    assert said[-1] == "the search has ended before; lower --stop-when-worth-less to go on"


def test_a_search_goes_on_while_something_promises_enough_or_nothing_was_asked(model: Path, tmp_path: Path) -> None:
    for name, threshold in (("any", 1e-9), ("off", 0.0)):
        (tmp_path / name).mkdir()
        trials, told = ended(model, tmp_path / name, threshold)
        assert trials == 20
        assert isinstance(told[-1], SearchEnded)
        assert told[-1].reason == "budget"


def test_the_gain_falls_as_good_candidates_are_found(model: Path, tmp_path: Path) -> None:
    ended(model, tmp_path, 0.0)
    run = open_run("run", tmp_path)
    space = fakes.space(tmp_path)
    known = scene(run.settings, space, run.path)
    assert worth(known, run.trials[: LEAST - 1], seed=0) == float("inf")
    winner = best(run.trials)
    assert winner is not None
    assert winner.score is not None
    gains = []
    for more in (0.0, 0.02, 0.05):  # the same search, had its winner been better
        better = winner.model_copy(update={"score": winner.score + more})
        gains.append(worth(known, [better if one == winner else one for one in run.trials], seed=0))
    assert gains[0] > gains[1] > gains[2] >= 0


@pytest.fixture
def known(model: Path) -> Scene:
    return Scene(SPACE, FEATURES, model)


def shown(*more: TrialRecord) -> list[TrialRecord]:
    """As few ended trials as are believed, and others; their scores rise with their numbers."""
    some = tables.candidates(SPACE, LEAST)
    return [*(a_trial(number, one, 0.4, 0.5 + 0.01 * number) for number, one in enumerate(some)), *more]


def test_trials_that_failed_and_values_that_another_trial_has_too_tell_nothing(known: Scene) -> None:
    stopped, other = tables.candidates(SPACE, LEAST + 2)[LEAST:]
    on_with = a_trial(LEAST, stopped, 0.6, state="pruned")
    gain = worth(known, shown(on_with), seed=0)
    assert gain > 0
    before, after = on_with, on_with.model_copy(update={"number": LEAST + 1, "continues": LEAST})
    assert worth(known, shown(before, after), seed=0) == pytest.approx(gain)
    failed = a_trial(LEAST, other, 0.9, state="failed")
    assert worth(known, shown(failed), seed=0) == worth(known, shown(failed.model_copy(update={"score": None})), seed=0)


def test_there_is_nothing_to_gain_from_what_was_tried(known: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    trials = shown()
    monkeypatch.setattr(meta, "proposed", lambda *_, **__: iter([trial.candidate for trial in trials]))
    assert worth(known, trials, seed=0) == 0


def test_the_less_sure_a_model_is_of_held_out_tasks_the_more_another_trial_may_gain(
    known: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    learned, gains = transfer.fitted(known), []
    for width in (1.0, 3.0):
        told = replace(learned, found=learned.found.model_copy(update={"widths": {0: width}}))
        monkeypatch.setattr(transfer, "fitted", lambda scene, told=told: told)
        gains.append(worth(known, shown(), seed=0))
    assert 0 < gains[0] < gains[1]


def test_a_past_that_does_not_foretell_its_own_tasks_stops_no_search(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended(model, tmp_path, 0.0)
    run = open_run("run", tmp_path)
    known = scene(run.settings, fakes.space(tmp_path), run.path)
    learned = transfer.fitted(known)
    poor = replace(learned, found=learned.found.model_copy(update={"opening": None}))
    assert worth(known, run.trials, seed=0) < float("inf")
    monkeypatch.setattr(transfer, "fitted", lambda scene: poor)
    assert worth(known, run.trials, seed=0) == float("inf")


def test_it_needs_a_model_and_a_sensible_threshold() -> None:
    with pytest.raises(UserError, match="needs a model of past tasks, which only the sampler 'meta' has, not 'tpe'"):
        search_from_python("demo/entailment", budget="1trials", sampler="tpe", stop_when_worth_less=0.1)
    with pytest.raises(UserError, match="is a gain in score, 0 or more"):
        search_from_python("demo/entailment", budget="1trials", stop_when_worth_less=-0.1)
