"""A trial learns, reports, can be repeated exactly, and leaves the backbone as it was."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from autodelta.backbones import weights_sha256
from autodelta.candidate import Candidate, Training
from autodelta.deltas.spec import MethodConfig, specs
from autodelta.engine.assignment import Assignment
from autodelta.engine.encode import encode_unlabelled
from autodelta.engine.evaluate import label_log_likelihoods
from autodelta.engine.failures import NotFinite
from autodelta.engine.forward import Forward
from autodelta.engine.schedule import rate_at, report_steps
from autodelta.engine.train import MAX_GRADIENT_NORM, Trial
from autodelta.engine.worker import Worker
from tests.deltas.conformance import roles_of
from tests.engine.samples import candidate, sequential

IDENTITIES = [(name, config) for name, spec in specs().items() if spec.identity_at_start for config in spec.small]


def test_a_trial_learns_a_learnable_task(worker: Worker) -> None:
    reports = list(worker.run(Assignment(number=0, candidate=candidate(), seed=1)))
    worker.close_trial()
    assert [report.step for report in reports] == [15, 30, 45, 60]
    assert [report.done for report in reports] == [False, False, False, True]
    assert reports[-1].train_loss < 0.7 * reports[0].train_loss
    assert reports[-1].score == 1.0


@pytest.mark.parametrize(
    ("steps", "at", "found"),
    [
        (60, (), {15, 30, 45, 60}),
        (3, (), {1, 2, 3}),
        (60, (7, 20), {7, 20, 60}),
        (60, (20, 60, 180), {20, 60}),
        (10, (30,), {10}),
    ],
)
def test_a_trial_reports_at_the_steps_it_is_told_and_at_its_last(
    steps: int, at: tuple[int, ...], found: set[int]
) -> None:
    assert report_steps(steps, at) == found


def test_reports_come_at_the_steps_of_the_assignment(worker: Worker) -> None:
    reports = list(worker.run(Assignment(number=0, candidate=candidate(12), seed=1, report_at=(2, 5, 40))))
    worker.close_trial()
    assert [(report.step, report.done) for report in reports] == [(2, False), (5, False), (12, True)]


def test_the_same_seed_gives_the_same_reports_and_another_seed_others(worker: Worker) -> None:
    def run(seed: int) -> list[tuple[float, float]]:
        reports = list(worker.run(Assignment(number=0, candidate=candidate(12), seed=seed)))
        worker.close_trial()
        return [(report.score, report.train_loss) for report in reports]

    assert run(1) == run(1) != run(2)


def test_a_trial_leaves_the_backbone_bit_for_bit(worker: Worker) -> None:
    before = weights_sha256(worker.backbone.model)
    list(worker.run(Assignment(number=0, candidate=candidate(12), seed=1)))
    worker.close_trial()
    assert weights_sha256(worker.backbone.model) == before
    assert not any(module._forward_hooks for module in worker.backbone.model.modules())


def test_stopping_a_trial_early_leaves_no_delta(worker: Worker) -> None:
    reports = worker.run(Assignment(number=0, candidate=candidate(12), seed=1))
    next(reports)
    worker.close_trial()
    assert not any(module._forward_hooks for module in worker.backbone.model.modules())


def test_a_prompt_that_starts_from_label_words_starts_from_those_of_the_task(worker: Worker) -> None:
    prompt = {"method": "prompt", "roles": ["encoder.embeddings"], "config": {"length": 2, "init": "labels"}}
    plan = {"deltas": [{**prompt, "learning_rate": 1e-9}], "training": {"steps": 1, "batch_size": 2}}
    list(worker.run(Assignment(number=0, candidate=Candidate.model_validate(plan), seed=1)))
    (found,) = worker.weights().values()
    worker.close_trial()
    words = worker.backbone.tokenizer(["yes", "no"], add_special_tokens=False)["input_ids"]
    table = worker.backbone.model.get_input_embeddings().weight
    assert torch.allclose(found, torch.stack([table[ids].float().mean(0) for ids in words]), atol=1e-6)


def test_a_sequence_trains_one_method_after_another_and_leaves_the_earlier_ones(worker: Worker) -> None:
    trial = Trial(worker.backbone, sequential("bitfit > prompt"), seed=1)
    seen: dict[int, dict[str, Any]] = {}
    for step, _ in trial.steps(worker._train):
        if step in (1, 10, 11, 20, 30):
            seen[step] = {name.split(".", 1)[1]: tensor for name, tensor in trial.weights().items()}
    methods = {step: {name.split(".")[0] for name in weights} for step, weights in seen.items()}
    assert methods == {
        1: {"bitfit"},
        10: {"bitfit"},
        11: {"bitfit", "prompt"},
        20: {"bitfit", "prompt"},
        30: {"bitfit", "prompt", "lora"},
    }
    for name, tensor in seen[30].items():
        if name.startswith("bitfit"):
            assert torch.equal(tensor, seen[10][name])
            assert not torch.equal(tensor, seen[1][name])
        elif name.startswith("prompt"):
            assert torch.equal(tensor, seen[20][name])
            assert not torch.equal(tensor, seen[11][name])


def test_a_sequence_is_searched_saved_and_scored_like_any_trial(worker: Worker, tmp_path: Path) -> None:
    plan = sequential("prompt > lora > bitfit")
    *_, last = worker.run(Assignment(number=0, candidate=plan, seed=1))
    save_file(worker.weights(), tmp_path / "delta.safetensors")
    worker.close_trial()
    assert last.step == 30
    assert worker.evaluate(plan, tmp_path / "delta.safetensors", "validation").score == last.score


@pytest.mark.parametrize(("sequence", "said"), [("lorra > prompt", "did you mean 'lora'"), ("lora > lora", "once")])
def test_a_sequence_of_unknown_or_repeated_methods_is_refused(sequence: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        sequential(sequence)


def test_saved_weights_are_scored_as_the_trial_was(worker: Worker, tmp_path: Path) -> None:
    *_, last = worker.run(Assignment(number=0, candidate=candidate(40), seed=1))
    save_file(worker.weights(), tmp_path / "delta.safetensors")
    running = worker.evaluate_running("validation")
    worker.close_trial()
    found = worker.evaluate(candidate(40), tmp_path / "delta.safetensors", "validation")
    assert found == running
    assert (found.score, found.log_loss) == (last.score, last.log_loss)
    gold = [example.label for example in worker.task.examples("validation")]
    assert worker.task.score(gold, list(found.predictions)) == found.score


@pytest.mark.parametrize(("name", "config"), IDENTITIES, ids=[f"{name}-{n}" for n, (name, _) in enumerate(IDENTITIES)])
def test_weight_decay_alone_leaves_the_backbone_as_it_is(worker: Worker, name: str, config: MethodConfig) -> None:
    """It pulls to the backbone: what has no gradient changes nothing, as a scale that falls from one would."""
    delta = {"method": name, "roles": roles_of(name, worker.backbone.shape), "config": config, "learning_rate": 0.1}
    plan: dict[str, Any] = {"steps": 10, "batch_size": 4, "schedule": "constant", "weight_decay": 0.5}
    trial = Trial(worker.backbone, Candidate.model_validate({"deltas": [delta], "training": plan}), seed=1)
    before = label_log_likelihoods(trial.forward, worker._validation)
    for _ in range(plan["steps"]):
        trial.begin_step()
        for parameter in trial.composition.parameters():
            parameter.grad = torch.zeros_like(parameter)
        trial.update()
    assert np.array_equal(label_log_likelihoods(trial.forward, worker._validation), before)


def test_weight_decay_acts_on_all_that_may_be_zero(worker: Worker) -> None:
    trial = Trial(worker.backbone, candidate(4, weight_decay=0.5), seed=1)
    assert {group["weight_decay"] for group in trial._optimiser.param_groups} == {0.5}


def test_a_loss_that_is_not_finite_ends_the_trial_with_its_step(worker: Worker) -> None:
    with pytest.raises(NotFinite) as caught:
        list(worker.run(Assignment(number=0, candidate=candidate(60, learning_rate=1e38), seed=1)))
    assert 1 < caught.value.step <= 60
    assert not any(module._forward_hooks for module in worker.backbone.model.modules())


def test_a_gradient_is_bounded_before_it_moves_the_weights(worker: Worker) -> None:
    trial = Trial(worker.backbone, candidate(4), seed=1)
    parameters = list(trial.composition.parameters())
    for parameter in parameters:
        parameter.grad = torch.full_like(parameter, 10.0)
    numbers = sum(parameter.numel() for parameter in parameters)
    assert float(trial.clip()) == pytest.approx(10 * numbers**0.5)
    squares = sum(float(parameter.grad.square().sum()) for parameter in parameters if parameter.grad is not None)
    assert squares == pytest.approx(MAX_GRADIENT_NORM**2, rel=1e-4)


def test_a_gradient_that_is_not_finite_ends_the_trial_and_moves_no_weight(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = Trial(worker.backbone, candidate(4), seed=1)
    before = trial.weights()
    monkeypatch.setattr(trial, "clip", lambda: torch.tensor(float("inf")))
    with pytest.raises(NotFinite, match="the gradient's norm is inf at step 1"):
        next(trial.steps(worker._train))
    assert all(torch.equal(tensor, before[name]) for name, tensor in trial.weights().items())


@pytest.mark.parametrize("texts", [(), ("the <pad> dog runs", "a", "a bird <pad>")], ids=["validation", "<pad>"])
def test_label_likelihoods_are_those_of_one_row_at_a_time(worker: Worker, texts: tuple[str, ...]) -> None:
    """Batching, padding and sharing the encoder's output change nothing: checked against the model's own loss."""
    encoded = encode_unlabelled(worker.backbone, worker.task, texts) if texts else worker._validation
    found = label_log_likelihoods(Forward(worker.backbone.model), encoded)
    for row in (0, len(encoded) - 1):
        for label, target in enumerate(encoded.targets):
            ids, labels = torch.from_numpy(encoded.inputs[row])[None], torch.from_numpy(target)[None]
            loss = worker.backbone.model(input_ids=ids, labels=labels).loss.item()
            assert found[row, label] == pytest.approx(-loss * len(target), abs=1e-4)
    assert np.isfinite(found).all()


@pytest.mark.parametrize(
    ("schedule", "middle", "last"), [("linear", 0.5, 0.0), ("cosine", 0.5, 0.0), ("constant", 1, 1)]
)
def test_the_learning_rate_rises_over_the_warm_up_and_then_follows_the_schedule(
    schedule: Any, middle: float, last: float
) -> None:
    plan = Training(steps=1100, batch_size=1, warmup=100 / 1100, schedule=schedule)
    assert [rate_at(step, plan) for step in (0, 49, 99, 100)] == pytest.approx([0.01, 0.5, 1.0, 1.0])
    assert rate_at(600, plan) == pytest.approx(middle, abs=1e-6)
    assert rate_at(1099, plan) == pytest.approx(last, abs=2e-3)
