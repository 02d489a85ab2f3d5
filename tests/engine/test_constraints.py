"""Limits are checked by measuring, before anything is trained; without limits nothing is measured."""

from collections.abc import Callable
from pathlib import Path

import pytest

from autodelta.backbones import weights_sha256
from autodelta.candidate import Candidate
from autodelta.engine import constraints
from autodelta.engine.assignment import Assignment
from autodelta.engine.failures import Violated
from autodelta.engine.pack import Pack
from autodelta.engine.train import Trial
from autodelta.engine.worker import Worker
from autodelta.limits import Limits
from tests.engine.samples import candidate, sequential, uneven


def assignment(plan: Candidate, **limits: float) -> Assignment:
    return Assignment(number=0, candidate=plan, seed=1, limits=Limits.model_validate(limits))


def measured(worker: Worker, plan: Candidate) -> int:
    return constraints.memory_bytes(worker.backbone, plan, seed=1, train=worker._train)


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("something was trained")

    monkeypatch.setattr(Pack, "step", fail)


@pytest.mark.usefixtures("untrained")
def test_more_memory_than_allowed_is_a_violation_before_any_training(worker: Worker) -> None:
    before, needed = weights_sha256(worker.backbone.model), measured(worker, candidate(40))
    with pytest.raises(Violated, match=r"^memory: .* GB, at most .* GB allowed$") as caught:
        next(worker.run(assignment(candidate(40), memory_bytes=needed - 1)))
    assert (caught.value.constraint, caught.value.value, caught.value.limit) == ("memory", needed, needed - 1)
    assert isinstance(caught.value, ValueError)
    assert weights_sha256(worker.backbone.model) == before
    assert not any(module._forward_hooks for module in worker.backbone.model.modules())


@pytest.mark.parametrize("plan", [candidate(40), sequential("prompt > bitfit > lora", steps=40)], ids=["one", "three"])
def test_the_memory_foreseen_is_the_most_that_the_trial_then_takes(worker: Worker, plan: Candidate) -> None:
    """Of a sequence no less: the largest batch need not fall into the phase that takes most."""
    needed = measured(worker, plan)
    *_, last = worker.run(assignment(plan, memory_bytes=needed))
    worker.close_trial()
    assert last.memory_bytes == needed if len(plan.phases) == 1 else last.memory_bytes <= needed


def test_the_largest_batch_is_that_of_the_training(worker: Worker) -> None:
    train = uneven(worker._train)
    trial = Trial(worker.backbone, candidate(4), seed=2)
    tokens = [trial.meter.largest for _ in trial.steps(train)]
    assert len(set(tokens)) > 1
    assert constraints.largest_batch(candidate(4), train, seed=2).tokens == max(tokens)


def clock_of(bare: float, on: float) -> Callable[[], float]:
    """As if every batch took ``bare`` seconds, and with the deltas ``on``; the first two warm up."""
    spent = [50.0, 1.0, *[bare, on] * constraints.TIMES]
    ticks = [tick for seconds in spent for tick in (0.0, seconds)]
    return iter(ticks).__next__


def test_latency_is_relative_to_the_bare_backbone(worker: Worker) -> None:
    found = constraints.latency_share(worker.backbone, candidate(), worker._validation, clock=clock_of(2.0, 2.5))
    assert found == 1.25
    assert not any(module._forward_hooks for module in worker.backbone.model.modules())


@pytest.mark.usefixtures("untrained")
def test_more_time_than_allowed_is_a_violation_before_any_training(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constraints, "latency_share", lambda *_: 1.25)
    with pytest.raises(Violated, match=r"^latency: 125% of the bare backbone's time, at most 110%"):
        next(worker.run(assignment(candidate(), latency_share=1.1)))


def test_what_keeps_its_limits_is_trained_as_without_them(worker: Worker) -> None:
    losses = []
    for limits in ({}, {"memory_bytes": 10**9, "latency_share": 1e6}):
        losses.append([report.train_loss for report in worker.run(assignment(candidate(8), **limits))])
        worker.close_trial()
    assert losses[0] == losses[1]


def test_without_a_limit_nothing_is_measured(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("something was measured")

    for name in ("memory_bytes", "latency_share"):
        monkeypatch.setattr(constraints, name, fail)
    assert len(list(worker.run(assignment(candidate(4))))) == 4
    worker.close_trial()


def test_a_trial_that_goes_on_is_not_measured_again(
    worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A latency measured anew could come out otherwise, and would end a trial that was good enough to start."""
    for _ in worker.run(assignment(candidate(4), latency_share=1e6)):
        worker.save(tmp_path / "rung")
        break
    monkeypatch.setattr(constraints, "latency_share", lambda *_: 1e9)
    assert len(list(worker.run(assignment(candidate(4), latency_share=1e6), start=tmp_path / "rung"))) == 4
    worker.close_trial()
