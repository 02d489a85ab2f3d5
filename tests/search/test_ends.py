"""The end of a trial foretold from its first rungs: past curves rise by the same at every candidate."""

from dataclasses import replace

import numpy as np
import pytest

from autodelta.candidate import Candidate
from autodelta.engine.report import Report
from autodelta.meta.records import Point, Record, Table
from autodelta.search import ends as ends_of
from autodelta.search.ends import End, by_promise, ends, points
from autodelta.search.records import BUDGET, Outcome, TrialRecord
from autodelta.search.samplers import Scene, sampler
from autodelta.search.study import Study
from autodelta.space import Space
from tests.meta.pasts import FEATURES, a_past, learned, worth
from tests.search import fakes, tables

RISE = 0.1  # from a third of the steps to the end
OWN = 0.1  # standard deviation of what a candidate is worth on a task beside what its composition says
SPACE = Space.of_text(fakes.SPACE, fakes.SHAPE, name="small")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    past = a_past(SPACE)
    rng = np.random.default_rng(1)
    records = tuple(one.model_copy(update={"curve": curve(one, rng.normal(0, OWN))}) for one in past.records)
    model = learned(tmp_path_factory.mktemp("past"), Table(records=records, tasks=past.tasks, about=past.about))
    return Scene(SPACE, FEATURES, model)


def curve(record: Record, own: float) -> tuple[Point, ...]:
    """A third of the way and the end, both as much better or worse as the trial is by itself."""
    end = record.curve[-1].model_copy(update={"score": record.curve[-1].score + own})
    return (end.model_copy(update={"step": max(1, end.step // 3), "score": end.score - RISE}), end)


def a_trial(number: int, candidate: Candidate, *scores: float, state: str = "complete") -> TrialRecord:
    """A trial with a score at a third of its steps, and one at its end if it is given."""
    steps = candidate.training.steps
    reports = tuple(
        Report(step=step, score=score, train_loss=1.0, device_seconds=1.0, done=step == steps)
        for step, score in zip((max(1, steps // 3), steps), scores, strict=False)
    )
    return TrialRecord.model_validate(
        {
            "number": number, "state": state, "candidate": candidate, "methods": candidate.methods, "parameters": 10,
            "cap": None, "score": scores[-1] if scores else None, "step": reports[-1].step if scores else 0,
            "device_seconds": 1.0, "seed": 1, "reason": "", "curve": reports,
        }
    )  # fmt: skip


def foretold(scene: Scene, *shown: float) -> End:
    """What is foretold of a trial that runs, beside some that have ended."""
    *others, one = tables.candidates(SPACE, 9)
    trials = [a_trial(number, other, worth(other) - RISE, worth(other)) for number, other in enumerate(others)]
    running = a_trial(len(others), one, *shown, state="running")
    found = ends(scene, [*trials, running], [running.number])
    assert list(found) == [running.number]
    return found[running.number]


def test_a_trial_that_begins_well_is_foretold_to_end_well(scene: Scene) -> None:
    usual = worth(tables.candidates(SPACE, 9)[-1])
    low, middle, high = (foretold(scene, usual - RISE + off) for off in (-0.15, 0.0, 0.15))
    assert low.score + 0.01 < middle.score < high.score - 0.01
    assert low.beats < middle.beats < high.beats
    assert middle.low < middle.score < middle.high


def test_what_it_has_shown_makes_the_interval_narrower(scene: Scene) -> None:
    usual = worth(tables.candidates(SPACE, 9)[-1])
    blind = foretold(scene)
    seen = foretold(scene, usual - RISE)
    assert seen.high - seen.low < blind.high - blind.low
    assert np.isfinite([*blind, *seen]).all()


def test_what_was_gone_on_with_counts_once(scene: Scene) -> None:
    one, *others = tables.candidates(SPACE, 9)
    ended = [a_trial(number, other, worth(other) - RISE, worth(other)) for number, other in enumerate(others)]
    stopped = a_trial(len(others), one, worth(one) - RISE, state="pruned")
    on_with = a_trial(len(others) + 1, one, worth(one) - RISE, state="running")
    alone = ends(scene, [*ended, on_with.model_copy(update={"number": len(others)})], [len(others)])[len(others)]
    both = [*ended, stopped, on_with.model_copy(update={"continues": len(others)})]
    assert ends(scene, both, [on_with.number])[on_with.number] == pytest.approx(alone)


def test_a_failed_trial_and_a_report_of_no_number_tell_nothing() -> None:
    one = tables.candidates(SPACE, 1)[0]
    assert [point.score for point in points(a_trial(0, one, 0.4, 0.5))] == [0.4, 0.5]
    assert [point.score for point in points(a_trial(0, one, float("nan"), 0.5))] == [0.5]
    for state in ("failed", "infeasible"):
        assert points(a_trial(0, one, 0.4, 0.5, state=state)) == []


def test_of_stopped_trials_the_most_promising_goes_on_first(scene: Scene) -> None:
    *others, bad, good = tables.candidates(SPACE, 10)
    ended = [a_trial(number, other, worth(other) - RISE, worth(other)) for number, other in enumerate(others)]
    stopped = [
        a_trial(len(ended) + more, one, worth(one) - RISE + off, state="pruned")
        for more, (one, off) in enumerate([(bad, -0.3), (good, 0.3)])
    ]
    assert by_promise(scene, [*ended, *stopped], stopped) == stopped[::-1]
    assert by_promise(Scene(SPACE, None, scene.model.parent), [*ended, *stopped], stopped) == stopped  # no model there


def test_a_past_that_does_not_foretell_its_own_tasks_orders_nothing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = [
        a_trial(number, one, 0.4 + 0.3 * number, state="pruned")
        for number, one in enumerate(sorted(tables.candidates(SPACE, 9), key=worth)[::8])
    ]
    assert by_promise(scene, stopped, stopped) == stopped[::-1]
    learned = ends_of.fitted(scene)
    poor = replace(learned, found=learned.found.model_copy(update={"opening": None}))
    monkeypatch.setattr(ends_of, "fitted", lambda scene: poor)
    assert by_promise(scene, stopped, stopped) == stopped


@pytest.mark.parametrize(("name", "first"), [("meta", 1), ("random", 0)])
def test_a_study_goes_on_with_that_one_where_its_sampler_has_the_model(scene: Scene, name: str, first: int) -> None:
    bad, good = sorted(tables.candidates(SPACE, 9), key=worth)[::8]
    study = Study(
        None, SPACE, sampler=sampler(name), seed=0, first=(bad, good), scene=scene, can_continue=lambda n: True
    )
    for _ in range(2):
        number = study.ask().number
        step = study.assignment(number).report_at[0]
        score = 0.1 + 0.8 * number
        study.report(number, Report(step=step, score=score, train_loss=1.0, device_seconds=1.0, done=False))
    for number in range(2):
        study.tell(number, Outcome(state="pruned", reason=BUDGET))
    assert study.trial(study.ask().number).continues == first


def test_before_any_trial_has_ended_nothing_is_there_to_be_beaten(scene: Scene) -> None:
    one = tables.candidates(SPACE, 1)[0]
    found = ends(scene, [a_trial(0, one, 0.4, state="running")], [0])
    assert found[0].beats == 1.0
    assert ends(scene, [], []) == {}
