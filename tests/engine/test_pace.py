"""A step or an evaluation that takes far longer than the trial's own ones ends it."""

import pytest

from autodelta.engine import pace, train
from autodelta.engine.assignment import Assignment
from autodelta.engine.failures import NotFinite, Stalled
from autodelta.engine.pace import Pace
from autodelta.engine.report import Scored
from autodelta.engine.worker import Worker
from tests.engine.samples import candidate


@pytest.mark.parametrize(
    ("before", "seconds", "stalled"),
    [
        ([3.0, 3.0, 3.0], 91.0, True),
        ([3.0, 3.0, 3.0], 90.0, False),  # 30 times the median is still allowed
        ([0.1, 0.1, 0.1], 59.0, False),  # a busy machine, not a hanging one
        ([0.1, 0.1, 0.1], 61.0, True),
        ([0.1, 50.0, 50.0], 61.0, False),
        ([], 1e6, False),  # the first one is measured against nothing
    ],
)
@pytest.mark.parametrize("what", ["step", "evaluation"])
def test_far_longer_than_a_minute_and_than_those_before_is_a_stall(
    what: str, before: list[float], seconds: float, stalled: bool
) -> None:
    pace = Pace()
    for number, took in enumerate(before):
        pace.note(what, number, took)
    if not stalled:
        pace.note(what, 9, seconds)
        return
    with pytest.raises(Stalled, match=f"the {what} at step 9 took {seconds:.0f} s") as caught:
        pace.note(what, 9, seconds)
    assert (caught.value.step, caught.value.seconds) == (9, seconds)


def test_steps_and_evaluations_are_not_measured_by_each_other() -> None:
    pace = Pace()
    pace.note("step", 1, 0.1)
    pace.note("evaluation", 1, 300.0)


def test_a_stalled_step_ends_the_trial_and_leaves_the_backbone_clean(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 1000.0 if any(member.trial.step == 5 for member in worker._roster.members.values()) else 0.5
        return now

    monkeypatch.setattr(pace, "now", clock)
    with pytest.raises(Stalled) as caught:
        list(worker.run(Assignment(number=0, candidate=candidate(8), seed=1)))
    assert caught.value.step == 5
    assert not any(module._forward_hooks for module in worker.backbone.model.modules())


def test_evaluations_may_be_slow_beside_steps(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def evaluate(self: train.Trial, *_: object) -> Scored:
        nonlocal now
        now += 1000.0
        return Scored(score=0.0, predictions=())

    monkeypatch.setattr(train.Trial, "evaluate", evaluate)
    monkeypatch.setattr(pace, "now", lambda: now)
    reports = list(worker.run(Assignment(number=0, candidate=candidate(8), seed=1)))
    worker.close_trial()
    assert [report.evaluation_seconds for report in reports] == [1000.0, 2000.0, 3000.0, 4000.0]


def test_a_log_loss_that_is_not_finite_ends_the_trial_with_its_step(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored = Scored(score=0.5, log_loss=float("nan"), predictions=())
    monkeypatch.setattr(train.Trial, "evaluate", lambda *_: scored)
    with pytest.raises(NotFinite, match="the log-loss on validation is nan at step 4") as caught:
        list(worker.run(Assignment(number=0, candidate=candidate(8), seed=1, report_at=(4,))))
    assert caught.value.step == 4


def test_time_between_reports_belongs_to_nobody(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 1.0
        return now

    monkeypatch.setattr(pace, "now", clock)
    reports = []
    for report in worker.run(Assignment(number=0, candidate=candidate(4), seed=1, report_at=(2,))):
        reports.append(report)
        now += 5000.0
    worker.close_trial()
    # Two steps and one evaluation, a second each, before each report.
    assert [(report.device_seconds, report.evaluation_seconds) for report in reports] == [(3.0, 1.0), (6.0, 2.0)]
