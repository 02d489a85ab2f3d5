"""What single methods promise beyond what holds for all; what peft and adapters check is left to their oracles."""

import copy
from math import prod
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from autodelta.backbones.roles import modules
from autodelta.candidate import Candidate, Delta, Training
from autodelta.deltas.attached import attach
from autodelta.deltas.base import SMALL, mapped
from autodelta.deltas.compose import Composition, compose
from autodelta.errors import UserError
from autodelta.shape import BackboneShape, Site
from tests.deltas.conformance import logits, perturb
from tests.models import batch, gated, original

Q = Site("encoder", 0, "self_attn.q")


def candidate(method: str, *roles: str, **config: object) -> Candidate:
    delta = {"method": method, "roles": roles, "config": config, "learning_rate": 1e-3}
    return Candidate(deltas=(Delta.model_validate(delta),), training=Training(steps=1, batch_size=1))


def built(model: Any, planned: Candidate, **given: Any) -> Composition:
    return compose(model, planned, **given)


def difference(composition: Composition, site: Site) -> Tensor:
    slot: Any = composition.at(site)[0]
    return slot.difference()


def test_a_prompt_starts_at_rows_of_the_vocabulary() -> None:
    model = original()
    prompt = next(built(model, candidate("prompt", "encoder.embeddings", length=5)).parameters())
    rows = {tuple(row) for row in model.shared.weight.tolist()}
    assert all(tuple(row) in rows for row in prompt.tolist())
    assert len({tuple(row) for row in prompt.tolist()}) > 1


def test_a_prompt_may_start_at_the_label_words() -> None:
    model = original()
    planned = candidate("prompt", "encoder.embeddings", length=4, init="labels")
    prompt = next(built(model, planned, label_ids=[(7,), (9, 11)]).parameters())
    plain = next(built(model, candidate("prompt", "encoder.embeddings", length=4)).parameters())
    table = model.shared.weight
    torch.testing.assert_close(prompt[0], table[7])
    torch.testing.assert_close(prompt[1], (table[9] + table[11]) / 2)
    assert torch.equal(prompt[2:], plain[2:])


def test_a_label_word_that_comes_to_no_token_starts_no_row_of_a_prompt() -> None:
    """The mean of no embeddings is no number."""
    model = original()
    planned = candidate("prompt", "encoder.embeddings", length=2, init="labels")
    prompt = next(built(model, planned, label_ids=[(), (9,)]).parameters())
    assert torch.equal(prompt[0], model.get_input_embeddings().weight[9])
    assert prompt.isfinite().all()


@pytest.mark.parametrize("init", ["vocabulary", "labels", "random"])
def test_a_prompt_converts_its_own_rows_and_not_the_whole_table(init: str) -> None:
    """In float32, that of an mT5-xxl takes 4 GB."""
    model, planned = original().to(torch.bfloat16), candidate("prompt", "encoder.embeddings", length=4, init=init)
    with Converted() as converted:
        built(model, planned, label_ids=[(7,), (9, 11)])
    assert converted.largest <= 4 * 16 < model.shared.weight.numel()


class Converted(TorchDispatchMode):
    """How many numbers the largest tensor had that was made in another dtype."""

    largest = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = function(*args, **(kwargs or {}))
        if function is torch.ops.aten._to_copy.default:
            self.largest = max(self.largest, found.numel())
        return found


def test_a_random_prompt_is_not_of_the_vocabulary() -> None:
    prompt = next(built(original(), candidate("prompt", "encoder.embeddings", length=50, init="random")).parameters())
    assert prompt.abs().max() <= 0.5
    assert abs(float(prompt.std()) - 12**-0.5) < 0.02


def test_a_subspace_is_a_linear_map_of_one_vector_into_all_weights() -> None:
    """The projection, read off column by column, gives the difference of any vector; blocks and weights differ."""
    model = original()
    composition = built(model, candidate("subspace", "encoder.self_attn.q", "encoder.ffn.in", dimension=12))
    (vector,) = composition.parameters()
    columns = []
    for number in range(12):
        with torch.no_grad():
            vector.zero_()[number] = 1
        columns.append(difference(composition, Q).flatten().clone())
    projection = torch.stack(columns, dim=1)
    with torch.no_grad():
        vector.normal_(generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(projection @ vector, difference(composition, Q).flatten())
    assert torch.linalg.matrix_rank(projection) == 12
    other = difference(composition, Site("encoder", 0, "ffn.in"))
    assert other.shape == (24, 16)
    assert not torch.allclose(other[:16], difference(composition, Q))


@pytest.mark.parametrize("dimension", [1, 5, 64, 200])
def test_a_subspace_projection_is_fastfood(dimension: int) -> None:
    """H G S H B v, written out with the whole Hadamard matrix."""
    model = original()
    composition = built(model, candidate("subspace", "encoder.self_attn.q", dimension=dimension), seed=3)
    perturb_all(composition)
    shared: Any = composition.deltas[0].shared
    padded = 1 << (dimension - 1).bit_length()
    hadamard = torch.ones(1, 1)
    while len(hadamard) < padded:
        hadamard = torch.cat((torch.cat((hadamard, hadamard), 1), torch.cat((hadamard, -hadamard), 1)))
    v = torch.zeros(padded)
    v[:dimension] = shared.coordinates.detach()
    mixed = (hadamard @ (shared.signs * v))[shared.order]
    blocks = [hadamard @ (gaussian * mixed) for gaussian in shared.gaussian_0]
    expected = torch.cat(blocks)[:256].view(16, 16) / (256 * padded) ** 0.5
    torch.testing.assert_close(difference(composition, Q), expected, atol=1e-5, rtol=1e-4)


def test_a_subspace_keeps_lengths_about() -> None:
    model = original(d_model=64, d_ff=128)
    composition = built(model, candidate("subspace", "encoder.self_attn.q", "encoder.ffn.in", dimension=50))
    perturb_all(composition)
    (vector,) = composition.parameters()
    for site in composition.slots:
        assert 0.8 < float(difference(composition, site).norm() / vector.norm()) < 1.25


def test_a_subspace_is_the_same_after_loading_under_another_seed() -> None:
    model = original()
    planned = candidate("subspace", "encoder.self_attn.q", dimension=7)
    one, two = built(model, planned, seed=1), built(model, planned, seed=2)
    perturb_all(one)
    assert not torch.equal(difference(one, Q), difference(two, Q))
    two.load_tensors(one.tensors())
    assert torch.equal(difference(one, Q), difference(two, Q))


@pytest.mark.parametrize("budget", [1, 100, 3001])
def test_a_selection_of_elements_meets_its_budget_exactly(budget: int) -> None:
    model = gated()
    planned = candidate("selective", "encoder.ffn.in", "decoder.tokens", "encoder.final_norm", budget=budget)
    total = 24 * 16 + 48 * 16 + 16
    composition = built(model, planned)
    perturb_all(composition)
    assert sum(p.numel() for p in composition.parameters()) == min(budget, total)
    assert sum(int((difference(composition, site) != 0).sum()) for site in composition.slots) == min(budget, total)


def test_a_selection_is_spread_as_the_weights_are_large() -> None:
    composition = built(original(), candidate("selective", "encoder.ffn.in", "encoder.self_attn.q", budget=640))
    counts = {str(site): slot.elements.values.numel() for site, (slot,) in composition.slots.items()}
    assert counts == {
        "encoder.0.self_attn.q": 128,
        "encoder.0.ffn.in": 192,
        "encoder.1.self_attn.q": 128,
        "encoder.1.ffn.in": 192,
    }


def test_a_selection_depends_on_its_choice_and_not_on_the_trial() -> None:
    model = original()

    def where(choice: int, seed: int) -> Tensor:
        planned = candidate("selective", "encoder.self_attn.q", budget=30, choice=choice)
        return built(model, planned, seed=seed).tensors()["0.selective.encoder.0.self_attn.q.elements.where"]

    assert torch.equal(where(1, seed=1), where(1, seed=2))
    assert not torch.equal(where(1, seed=1), where(2, seed=1))


def test_a_selection_of_weights_takes_whole_ones_within_its_budget() -> None:
    model = original()
    shape = BackboneShape.of(model)
    roles = ("encoder.self_attn.q", "encoder.ffn.in", "encoder.final_norm", "decoder.tokens")
    seen = set()
    for choice in range(8):
        planned = candidate("selective", *roles, budget=700, unit="weight", choice=choice)
        composition = built(model, planned)
        chosen = {shape.owner(site) for site in composition.slots}
        assert sum(prod(shape.weight_shape(site)) for site in chosen) == planned.count_parameters(shape) <= 700
        seen.add(frozenset(chosen))
    assert len(seen) > 2


def test_a_budget_below_the_smallest_weight_is_refused() -> None:
    with pytest.raises(UserError, match="9 < 16"):
        attach(original(), candidate("selective", "encoder.final_norm", budget=9, unit="weight"))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"bottleneck": 20}, "20 > 16"),
        ({"bottleneck": 6, "divisions": 4}, "divide the bottleneck: 6 % 4"),
        ({"bottleneck": 6, "divisions": 3}, "divide the backbone's d_model: 16 % 3"),
    ],
)
def test_a_compacter_that_does_not_divide_is_refused(config: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        attach(original(), candidate("compacter", "encoder.ffn", **config))


def test_a_subspace_larger_than_its_weights_is_refused() -> None:
    with pytest.raises(UserError, match="33 > 16"):
        attach(original(), candidate("subspace", "encoder.final_norm", dimension=33))


@pytest.mark.parametrize(
    ("method", "role", "config"),
    [
        ("lora", "encoder.self_attn.q", {"rank": 4}),
        ("lora", "encoder.self_attn.q", {"rank": 4, "dora": True}),
        ("adapter", "encoder.self_attn", {"bottleneck": 4, "placement": "parallel", "activation": "tanh"}),
    ],
)
def test_few_rows_in_bfloat16_are_rounded_less_than_many(method: str, role: str, config: dict[str, object]) -> None:
    """They go through narrow products in float32, in which nothing is rounded on the way."""
    model = original()
    (site, (slot,)), *_ = built(model, candidate(method, role, **config)).slots.items()
    perturb(slot, scale=0.3)
    exact = copy.deepcopy(slot).double()
    weight = getattr(modules(model)[site], "weight", torch.zeros(16, 16)).detach()
    out, into = weight.shape
    few, drawn = SMALL // (max(out, into) * 32), torch.Generator().manual_seed(3)
    x, y, g = (torch.randn(few + 1, width, generator=drawn).bfloat16() for width in (into, out, out))

    def errors(rows: int) -> list[float]:
        """Of the output, and of the gradients of x, y and each parameter."""
        found = []
        for of, dtype in ((slot, torch.bfloat16), (exact, torch.float64)):
            enters, comes = (one[:rows].to(dtype).requires_grad_() for one in (x, y))
            end = mapped([of], enters, comes, weight.to(dtype))
            gradients = torch.autograd.grad(end, [enters, comes, *of.parameters()], g[:rows].to(dtype))
            found.append([end.detach().double(), *(one.double() for one in gradients)])
        return [float((ours - theirs).norm() / theirs.norm()) for ours, theirs in zip(*found, strict=True)]

    less, more = errors(few), errors(few + 1)
    assert max(less + more) < 2e-2
    assert less[3] < more[3] / 2


def test_a_reparameterised_prefix_is_one_network_for_all_sites() -> None:
    model = original()
    planned = candidate("prefix", "encoder.self_attn.keys_values", "decoder.cross_attn.keys_values", length=2, hidden=3)
    with attach(model, planned) as attached:
        names = [name for name in attached.state_dict() if ".shared." in name]
        assert names == [f"0.prefix.shared.{tensor}" for tensor in ("embeddings", "weight", "bias")]
        before = logits(model, batch())
        with torch.no_grad():
            attached.composition.tensors()[names[0]].add_(1.0)
        assert not torch.equal(logits(model, batch()), before)


@pytest.mark.parametrize("stack", ["encoder", "decoder"])
def test_a_prefix_has_no_position_and_tokens_keep_theirs(stack: str) -> None:
    """The attention written out, from what the layers in front of it give and for the layer behind it."""
    model = original()
    rows = batch()
    with attach(model, candidate("prefix", f"{stack}.self_attn.keys_values", length=3)) as attached:
        perturb(attached)
        block = model.get_submodule(stack).block[0].layer[0].SelfAttention
        seen: dict[str, Tensor] = {}
        for name in "qkv":
            block.get_submodule(name).register_forward_hook(lambda _, __, y, name=name: seen.update({name: y}))
        block.o.register_forward_pre_hook(lambda _, args: seen.update(o=args[0]))
        logits(model, rows)
        q, k, v = (seen[name].unflatten(-1, (4, 4)).transpose(1, 2) for name in "qkv")
        length = q.shape[2]
        prefix = next(attached.parameters()).unflatten(-1, (2, 4, 4)).permute(1, 2, 0, 3)
        bias = block.compute_bias(length, length)
        if stack == "decoder":
            bias = bias + torch.full((length, length), -torch.inf).triu(1)
        scores = torch.cat((q @ prefix[0].transpose(1, 2), q @ k.transpose(2, 3) + bias), dim=-1)
        values = torch.cat((prefix[1].expand(len(v), -1, -1, -1), v), dim=2)
        expected = (scores.softmax(-1) @ values).transpose(1, 2).flatten(2)
        torch.testing.assert_close(seen["o"], expected, atol=1e-5, rtol=1e-4)


def perturb_all(composition: Composition) -> None:
    generator = torch.Generator().manual_seed(6)
    with torch.no_grad():
        for parameter in composition.parameters():
            parameter += torch.randn(parameter.shape, generator=generator)
