"""The loss over label words alone is what its definition says; a candidate trains by it and is scored by it."""

import copy
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from autodelta.candidate import Candidate, Loss
from autodelta.deltas.attached import Attached
from autodelta.deltas.compose import compose
from autodelta.deltas.spec import MethodConfig, specs
from autodelta.engine import evaluate
from autodelta.engine.assignment import Assignment
from autodelta.engine.encode import Batch, batches, encode
from autodelta.engine.evaluate import label_log_likelihoods
from autodelta.engine.forward import Forward
from autodelta.engine.labels import LabelTree, log_likelihoods
from autodelta.engine.loss import counted, mean_loss
from autodelta.engine.train import Trial
from autodelta.engine.worker import Worker
from autodelta.errors import UserError
from autodelta.shape import BackboneShape
from tests.deltas.conformance import candidate_of, perturb
from tests.engine.samples import candidate, uneven
from tests.models import TINY, batch

# Labels that begin alike, one that is another's beginning, one that begins another, and one of a single token.
WORDS = tuple(np.array(ids) for ids in ([5, 6, 1], [5, 1], [5, 6, 7, 1], [9, 8, 1], [1]))
VARIANTS = [(method, spec.small[0]) for method, spec in specs().items()]


@lru_cache(maxsize=8)
def wide(name: str) -> Any:
    model = copy.deepcopy(TINY[name]()).double()
    model.config._attn_implementation = "eager"
    return model.requires_grad_(False)


def of_labels() -> Batch:
    given = batch(rows=4, length=9, padded=True)
    numbers = torch.tensor([2, 4, 0, 3])
    return Batch(given["input_ids"], given["attention_mask"], given["labels"], numbers, WORDS)


def expected_loss(model: Any, given: Batch) -> Tensor:
    """Label by label and token by token, through transformers."""
    found = []
    for row, label in enumerate(given.labels.tolist()):
        target = torch.from_numpy(WORDS[label])[None]
        logits = model(
            input_ids=given.input_ids[row : row + 1],
            attention_mask=given.mask[row : row + 1],
            labels=target,
            use_cache=False,
        ).logits[0]
        for at, token in enumerate(WORDS[label].tolist()):
            rest = {int(word[at]) for word in WORDS if word[:at].tolist() == WORDS[label][:at].tolist()}
            found.append(logits[at, sorted(rest)].logsumexp(0) - logits[at, token])
    return torch.stack(found).sum() / len(given.labels)


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize(("method", "config"), VARIANTS, ids=[method for method, _ in VARIANTS])
def test_loss_and_gradients_over_labels_are_those_of_its_definition(
    name: str, method: str, config: MethodConfig
) -> None:
    model, given = wide(name), of_labels()
    composition = compose(model, candidate_of(BackboneShape.of(model), (method, config))).double()
    with Attached(model, composition) as on:
        perturb(on)
        expected = expected_loss(model, given)
        forward = Forward(model, composition)
        found = mean_loss(forward, forward.encode(given.input_ids, given.mask), given, "labels")
        assert found.item() == pytest.approx(expected.item(), abs=1e-10)
        parameters = list(on.parameters())
        theirs = torch.autograd.grad(expected, parameters, allow_unused=True)
        for ours, other in zip(torch.autograd.grad(found, parameters, allow_unused=True), theirs, strict=True):
            zero = torch.zeros(())
            assert torch.allclose(zero if ours is None else ours, zero if other is None else other, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", TINY)
def test_probabilities_among_labels_sum_to_one(name: str) -> None:
    model, given = wide(name), of_labels()
    forward = Forward(model)
    tree = LabelTree.of(WORDS, start=0, among=True)
    found = log_likelihoods(forward, forward.encode(given.input_ids, given.mask), tree)
    assert torch.allclose(found.exp().sum(1), torch.ones(4, dtype=torch.float64), atol=1e-12)


@pytest.mark.parametrize("among", [True, False])
def test_labels_do_not_tie_because_a_bfloat16_is_short(among: bool) -> None:
    model, given = copy.deepcopy(TINY["original"]()), batch(rows=400)
    with torch.no_grad():  # words so much alike that a pretrained backbone's logits would differ as little
        noise = torch.randn(2, model.config.d_model, generator=torch.Generator().manual_seed(0))
        model.shared.weight[[7, 9]] = model.shared.weight[5] + 0.01 * noise
    forward = Forward(model.to(torch.bfloat16))
    tree = LabelTree.of([np.array(ids) for ids in ([5], [9], [7])], start=0, among=among)
    found = log_likelihoods(forward, forward.encode(given["input_ids"], given["attention_mask"]), tree)
    first, second = found.topk(2, dim=1).values.T
    assert (first == second).float().mean() < 0.01  # of bfloat16 logits 7 to 15 % tie; a float32 is short, too


def test_only_where_labels_part_is_the_decoder_asked() -> None:
    assert len(LabelTree.of(WORDS, start=0)) == 6  # (), 5, 5 6, 5 6 7, 9, 9 8
    assert len(LabelTree.of(WORDS, start=0, among=True)) == 3  # (), 5, 5 6
    apart = [np.array(ids) for ids in ([5, 6, 1], [7, 8, 9, 1])]
    assert len(LabelTree.of(apart, start=0, among=True)) == 1


@pytest.mark.parametrize("words", [(), WORDS[:1]])
def test_a_task_without_a_fixed_set_of_labels_is_refused(words: tuple[Any, ...]) -> None:
    forward, given = Forward(wide("original")), replace(of_labels(), words=words)
    memory = forward.encode(given.input_ids, given.mask)
    with pytest.raises(UserError, match="a fixed set"):
        mean_loss(forward, memory, given, "labels")
    assert mean_loss(forward, memory, given, "text").isfinite()


@pytest.mark.parametrize("kind", ["text", "labels"])
def test_the_loss_of_parts_of_a_batch_is_that_of_the_batch(worker: Worker, kind: Loss) -> None:
    """In float64, with targets of unlike lengths."""
    backbone = replace(worker.backbone, model=copy.deepcopy(worker.backbone.model).double(), dtype=torch.float64)
    train = replace(uneven(worker._train), targets=(np.array([5, 6, 7, 1]), np.array([5, 8, 1])))
    given = next(batches(train, batch_size=8, seed=0))
    trial = Trial(backbone, candidate(4, loss=kind), seed=1)
    trial.composition.double()
    whole = trial.gradients(given, 8)
    expected = [parameter.grad for parameter in trial.composition.parameters()]
    assert trial.gradients(given, 3) == pytest.approx(whole, abs=1e-10)
    for parameter, gradient in zip(trial.composition.parameters(), expected, strict=True):
        assert parameter.grad is not None
        assert gradient is not None
        assert torch.allclose(parameter.grad, gradient, rtol=0, atol=1e-10)
    assert counted(given, kind) == (8 if kind == "labels" else given.target_tokens)


def test_a_candidate_learns_from_labels_alone(worker: Worker) -> None:
    reports = list(worker.run(Assignment(number=0, candidate=candidate(loss="labels"), seed=1)))
    running = worker.evaluate_running("validation")
    worker.close_trial()
    assert reports[-1].train_loss < 0.5 * reports[0].train_loss < 0.4  # nats: two labels begin at 0.69 at most
    assert reports[-1].score == running.score == 1.0


@pytest.mark.parametrize("kind", ["text", "labels"])
def test_the_log_loss_is_of_the_right_label_among_all(worker: Worker, kind: Loss) -> None:
    list(worker.run(Assignment(number=0, candidate=candidate(2, loss=kind), seed=1)))
    running, split = worker.evaluate_running("validation"), encode(worker.backbone, worker.task, "validation")
    found = label_log_likelihoods(worker._open_trial(None).trial.forward, split, loss=kind)
    worker.close_trial()
    shares = [row.astype(np.float64) - row.max() for row in found]
    missed = [-np.log(np.exp(row)[label] / np.exp(row).sum()) for row, label in zip(shares, split.labels, strict=True)]
    assert running.log_loss == pytest.approx(np.mean(missed), rel=1e-9)


def test_a_candidate_is_scored_by_the_probabilities_that_it_was_trained_on(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[bool] = []
    of = LabelTree.of

    def noted(*given: Any, among: bool = False, **named: Any) -> LabelTree:
        made.append(among)
        return of(*given, among=among, **named)

    monkeypatch.setattr(LabelTree, "of", noted)
    for kind, among in (("text", False), ("labels", True)):
        made.clear()
        list(worker.run(Assignment(number=0, candidate=candidate(1, loss=kind), seed=1)))
        worker.evaluate_running("test")
        worker.close_trial()
        assert set(made) == {among}


def test_a_candidate_without_the_setting_keeps_its_name_and_means_the_text() -> None:
    said = {
        "deltas": [{"method": "lora", "roles": ["encoder.self_attn.q"], "config": {"rank": 4}, "learning_rate": 0.01}],
        "training": {"steps": 10, "batch_size": 8},
    }
    plain = Candidate.model_validate(said)
    among = Candidate.model_validate({**said, "training": {**said["training"], "loss": "labels"}})  # type: ignore[dict-item]
    assert plain.training.loss == "text"
    assert plain.key == "330c436028de"  # as records from before have it
    assert among.key != plain.key
    assert Candidate.model_validate_json(among.model_dump_json()) == among


def test_fewer_long_rows_than_short_ones_are_scored_at_once_on_a_cpu(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, forward, shapes = uneven(worker._validation), Forward(worker.backbone.model), list[tuple[int, ...]]()
    expected = label_log_likelihoods(forward, rows)
    begin = forward.begin
    forward.begin = lambda ids, mask: shapes.append(ids.shape) or begin(ids, mask)  # type: ignore[func-returns-value, method-assign]
    monkeypatch.setattr(evaluate, "TOKENS", 60)
    assert label_log_likelihoods(forward, rows) == pytest.approx(expected, abs=1e-4)
    assert all(number * length <= 60 for number, length in shapes)
    assert shapes[0][0] < shapes[-2][0]
