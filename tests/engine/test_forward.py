"""The lean forward pass is transformers' own, with every delta, on every kind of T5."""

import copy
from contextlib import nullcontext
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from autodelta.candidate import Candidate
from autodelta.deltas.attached import Attached
from autodelta.deltas.compose import compose
from autodelta.deltas.merge import merge
from autodelta.deltas.spec import MethodConfig, specs
from autodelta.engine.activations import Activations
from autodelta.engine.forward import Forward, Memory
from autodelta.engine.labels import LabelTree, log_likelihoods
from autodelta.engine.layers import Norm
from autodelta.engine.layout import Layout, Part
from autodelta.engine.softmax import softmax
from autodelta.errors import UserError
from autodelta.shape import BackboneShape
from tests.deltas.conformance import candidate_of, perturb
from tests.models import TINY, batch

VARIANTS = [(name, config) for name, spec in specs().items() for config in spec.small]
SETS = ({}, {"rows": 4, "length": 9, "target": 3, "padded": True})


@lru_cache(maxsize=16)
def wide(name: str) -> Any:
    """In float64, with the attention whose arithmetic is followed."""
    model = copy.deepcopy(TINY[name]()).double()
    model.config._attn_implementation = "eager"
    return model.requires_grad_(False)


def attached(model: Any, candidate: Candidate) -> Attached:
    on = Attached(model, compose(model, candidate).double())
    perturb(on)
    return on


def gradients(loss: Tensor, on: Attached) -> list[Tensor]:
    found = torch.autograd.grad(loss, list(on.parameters()), allow_unused=True)
    return [torch.zeros(()) if gradient is None else gradient for gradient in found]


def logits_of(forward: Forward, model: Any, given: dict[str, Tensor]) -> Tensor:
    memory = forward.encode(given["input_ids"], given["attention_mask"])
    return forward.logits(forward.decode(model._shift_right(given["labels"]), memory))


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize(("method", "config"), VARIANTS, ids=[f"{m}-{n}" for n, (m, _) in enumerate(VARIANTS)])
def test_logits_loss_and_gradients_are_those_of_the_model_with_hooks(
    name: str, method: str, config: MethodConfig
) -> None:
    model = wide(name)
    with attached(model, candidate_of(BackboneShape.of(model), (method, config))) as on:
        for shape in SETS:
            given = batch(**shape)
            expected = model(**given, use_cache=False)
            forward = Forward(model, on.composition)
            found = logits_of(forward, model, given)
            assert torch.allclose(found, expected.logits, rtol=0, atol=1e-10)
            loss = forward.loss(forward.encode(given["input_ids"], given["attention_mask"]), given["labels"])
            assert loss.item() == pytest.approx(expected.loss.item(), abs=1e-10)
            for ours, theirs in zip(gradients(loss, on), gradients(expected.loss, on), strict=True):
                assert torch.allclose(ours, theirs, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize(("method", "config"), VARIANTS, ids=[f"{m}-{n}" for n, (m, _) in enumerate(VARIANTS)])
@torch.no_grad()
def test_tokens_one_after_another_are_those_of_one_pass_over_all(name: str, method: str, config: MethodConfig) -> None:
    model = wide(name)
    given = batch(rows=5, length=9, padded=True)
    ids = torch.randint(2, model.config.vocab_size, (5, 7), generator=torch.Generator().manual_seed(0))
    with attached(model, candidate_of(BackboneShape.of(model), (method, config))) as on:
        forward = Forward(model, on.composition)
        memory = forward.encode(given["input_ids"], given["attention_mask"])
        whole, caches = forward.decode(ids, memory), forward.caches(memory)
        assert torch.allclose(forward.further(ids[:, :1], caches), whole[:, :1], rtol=0, atol=1e-10)
        assert torch.allclose(forward.further(ids[:, 1:4], caches), whole[:, 1:4], rtol=0, atol=1e-10)
        left = torch.tensor([0, 3, 4])  # the others are over
        caches = [one.only(left) for one in caches]
        for at in range(4, 7):
            found = forward.further(ids[left, at : at + 1], caches)
            assert torch.allclose(found, whole[left, at : at + 1], rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize(("method", "config"), VARIANTS, ids=[f"{m}-{n}" for n, (m, _) in enumerate(VARIANTS)])
def test_so_they_are_in_float32_in_which_the_norm_has_its_own_gradient(
    name: str, method: str, config: MethodConfig
) -> None:
    model = copy.deepcopy(wide(name)).float()
    on = Attached(model, compose(model, candidate_of(BackboneShape.of(model), (method, config))))
    with on:
        perturb(on)
        given = batch(**SETS[1])
        expected, forward = model(**given, use_cache=False), Forward(model, on.composition)
        assert _apart(logits_of(forward, model, given), expected.logits) < 1e-4
        loss = forward.loss(forward.encode(given["input_ids"], given["attention_mask"]), given["labels"])
        ours, theirs = (torch.cat([g.flatten() for g in gradients(one, on)]) for one in (loss, expected.loss))
        assert _apart(ours, theirs) < 1e-4


def _apart(found: Tensor, expected: Tensor) -> float:
    return float((found.double() - expected.double()).norm() / expected.double().norm())


@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 1e-6), (torch.bfloat16, 5e-3)])
def test_the_norms_own_gradient_is_that_of_the_plain_lines(dtype: torch.dtype, near: float) -> None:
    generator, layout = torch.Generator().manual_seed(0), Layout(((Part(0, 50, 1),),))
    x, g = (torch.randn(50, 48, generator=generator).to(dtype) for _ in range(2))
    norm = Norm((torch.rand(48, generator=generator) + 0.5).to(dtype), 1e-6, ((),))
    narrow, wide = x.clone().requires_grad_(), x.double().requires_grad_()
    ours = norm(narrow, layout)
    theirs = norm._replace(weight=norm.weight.double())(wide, layout)
    assert ours.dtype == dtype
    assert _apart(ours, theirs) < near
    (ours_g,), (theirs_g,) = (torch.autograd.grad(y, z, g.to(y.dtype)) for y, z in ((ours, narrow), (theirs, wide)))
    assert _apart(ours_g, theirs_g) < near
    assert torch.equal(narrow, x)  # what is computed in place is a copy


@pytest.mark.parametrize("keys", [5, 16, 17, 30, 32, 63, 64, 100, 128, 145])
def test_softmax_in_bfloat16_is_that_of_float32_rounded(keys: int) -> None:
    scores = (3 * torch.randn(4, 2, 150, keys, generator=torch.Generator().manual_seed(0))).bfloat16().requires_grad_()
    g = torch.randn(scores.shape, generator=torch.Generator().manual_seed(1)).bfloat16()
    wide = scores.detach().float().requires_grad_()
    ours, theirs = softmax(scores), functional.softmax(wide, dim=-1)
    assert ours.dtype == torch.bfloat16
    assert _apart(ours, theirs) < 4e-3
    (ours_g,), (theirs_g,) = (torch.autograd.grad(y, x, g.to(y.dtype)) for y, x in ((ours, scores), (theirs, wide)))
    assert _apart(ours_g, theirs_g) < 1e-2


@pytest.mark.parametrize("name", TINY)
def test_the_bare_backbone_is_the_model(name: str) -> None:
    model, given = wide(name), batch(padded=True)
    assert torch.allclose(logits_of(Forward(model), model, given), model(**given).logits, rtol=0, atol=1e-10)


@pytest.mark.parametrize("role", ["encoder.self_attn.v", "decoder.ffn.out", "decoder.lm_head"])
def test_biases_of_an_earlier_merge_are_refused_and_not_passed_over(role: str) -> None:
    delta = {"method": "bitfit", "roles": [role], "learning_rate": 1e-3}
    candidate = Candidate.model_validate({"deltas": [delta], "training": {"steps": 1, "batch_size": 1}})
    for biases in (False, True):
        model = TINY["original"]()
        with Attached(model, compose(model, candidate)) as on:
            perturb(on)
            state = on.state_dict()
        merge(model, candidate, state, biases=biases)
        with pytest.raises(UserError, match=f"{role.split('.')[-1]} has a bias") if biases else nullcontext():
            Forward(model)


def test_a_forward_made_after_the_weights_have_changed_sees_them() -> None:
    model, given = copy.deepcopy(TINY["gated"]()).requires_grad_(False), batch()
    Forward(model)
    with torch.no_grad():
        model.encoder.block[0].layer[0].SelfAttention.q.weight += 0.1
        model.decoder.block[0].layer[1].EncDecAttention.v.weight = torch.nn.Parameter(
            0.5 * model.decoder.block[0].layer[1].EncDecAttention.v.weight, requires_grad=False
        )
        expected = model(**given).logits
        torch.testing.assert_close(logits_of(Forward(model), model, given), expected, atol=1e-5, rtol=1e-5)
        model.double()
        torch.testing.assert_close(logits_of(Forward(model), model, given), model(**given).logits)


@pytest.mark.parametrize("name", TINY)
def test_no_weight_is_held_twice_and_none_has_changed(name: str) -> None:
    model = copy.deepcopy(wide(name))
    forward, again = Forward(model), Forward(model)
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), wide(name).parameters(), strict=True))
    held = {one.untyped_storage().data_ptr(): one.untyped_storage().nbytes() for one in model.parameters()}
    assert sum(held.values()) == sum(one.nbytes for one in model.parameters())
    for made in (forward, again):
        for block in (*made.encoder, *made.decoder):
            attentions = [one for one in (block.self_attn, block.cross_attn) if one is not None]
            fans = [fan for one in attentions for fan in (one.query, one.projections, one.out)]
            for fan in (*fans, block.ffn.enter, block.ffn.out):
                used = [fan.together, *(part.weight for part in fan.parts)]
                assert {one.untyped_storage().data_ptr() for one in used} <= held.keys()


def test_targets_that_are_padded_count_in_no_loss() -> None:
    model, given = wide("gated"), batch()
    labels = given["labels"].clone()
    labels[0, 2:] = -100
    forward = Forward(model)
    memory = forward.encode(given["input_ids"], None)
    expected = model(input_ids=given["input_ids"], labels=labels).loss
    assert forward.loss(memory, labels).item() == pytest.approx(expected.item(), abs=1e-10)


# --- what is frozen is computed once ---------------------------------------------------------------------------------


def placed(method: str, roles: tuple[str, ...], **blocks: tuple[int, ...]) -> Candidate:
    delta = {"method": method, "roles": roles, "learning_rate": 0.01, **blocks}
    if method == "lora":
        delta["config"] = {"rank": 2, "alpha": 4}
    if method == "prompt":
        delta["config"] = {"length": 2, "init": "random"}
    return Candidate.model_validate({"deltas": [delta], "training": {"steps": 1, "batch_size": 1}})


PLACES = {
    "the second block": (placed("lora", ("encoder.ffn.in",), encoder_blocks=(1,)), 1),
    "the encoder's last norm": (placed("bitfit", ("encoder.final_norm",)), 2),
    "the decoder": (placed("lora", ("decoder.cross_attn.q",)), 3),
    "a prompt": (placed("prompt", ("encoder.embeddings",)), 0),
    "the first block": (placed("lora", ("encoder.self_attn.q",)), 0),
}


@pytest.mark.parametrize("place", PLACES)
def test_activations_from_the_cache_are_those_that_would_be_computed(place: str) -> None:
    candidate, depth = PLACES[place]
    model, given = wide("original"), batch(padded=True)
    ids, mask = given["input_ids"], given["attention_mask"]
    with attached(model, candidate) as on:
        forward, kept = Forward(model, on.composition), Activations()
        assert forward.first_delta == depth
        expected = forward.encode(ids, mask)
        entered: list[int] = []
        begin = forward.begin
        forward.begin = lambda *a: entered.append(1) or begin(*a)  # type: ignore[func-returns-value, method-assign]
        for _ in range(3):
            memory = kept.encode(forward, ids, mask, device=ids.device)
            assert torch.equal(memory.hidden, expected.hidden)
            assert memory.hidden.requires_grad == expected.hidden.requires_grad
        assert len(entered) == (3 if depth == 0 else 1)


def test_the_least_recently_used_activations_make_room() -> None:
    model = wide("original")
    forward, given = Forward(model), [batch(seed=seed)["input_ids"] for seed in range(3)]
    size = forward.encode(given[0], None).hidden.nbytes
    kept = Activations(2 * size)
    entered: list[int] = []
    begin = forward.begin
    forward.begin = lambda *a: entered.append(1) or begin(*a)  # type: ignore[func-returns-value, method-assign]
    for number in (0, 1, 0, 2, 0, 1):
        kept.encode(forward, given[number], None, device=given[number].device)
        assert kept.held_bytes <= 2 * size
    assert len(entered) == 4  # 0, 1, 2, and 1 once more


def test_a_batch_of_other_rows_or_another_depth_is_another_one() -> None:
    model, given = wide("original"), batch()
    kept, ids = Activations(), given["input_ids"]
    for candidate, _ in PLACES.values():
        with attached(model, candidate) as on:
            forward = Forward(model, on.composition)
            for shown in (ids, ids[:, :4], ids[:2], ids.flip(0)):
                found = kept.encode(forward, shown, None, device=shown.device)
                assert torch.equal(found.hidden, forward.encode(shown, None).hidden)


# --- labels ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("method", ["prompt", "prefix", "lora"])
def test_a_tree_of_labels_gives_what_one_label_at_a_time_gives(name: str, method: str) -> None:
    """Labels that begin alike, one that begins another, and one of a single token."""
    model, given = wide(name), batch(padded=True)
    targets = [np.array(ids) for ids in ([5, 6, 1], [5, 1], [5, 6, 7, 1], [9, 1], [1])]
    with attached(model, candidate_of(BackboneShape.of(model), (method, specs()[method].small[0]))) as on:
        forward = Forward(model, on.composition)
        memory = forward.encode(given["input_ids"], given["attention_mask"])
        tree = LabelTree.of(targets, start=0)
        found = log_likelihoods(forward, memory, tree)
        for label, target in enumerate(targets):
            labels = torch.from_numpy(target).repeat(len(given["input_ids"]), 1)
            logits = model(**{**given, "labels": labels}, use_cache=False).logits
            losses = functional.cross_entropy(logits.transpose(1, 2), labels, reduction="none").sum(1)
            assert torch.allclose(found[:, label], -losses, rtol=0, atol=1e-9)
    assert len(tree) == 5  # (), 5, 5 6, 5 6 7, 9


def test_a_memory_may_have_no_mask() -> None:
    model, given = wide("gated"), batch()
    forward = Forward(model)
    with_mask = forward.encode(given["input_ids"], given["attention_mask"])
    without = forward.encode(given["input_ids"], None)
    assert torch.equal(with_mask.hidden, without.hidden)
    assert without == Memory(without.hidden, None)
