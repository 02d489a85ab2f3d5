"""Kept keys and values are those that would be computed, for every delta of the decoder, and make way for memories."""

import copy
from functools import lru_cache
from typing import Any

import pytest
import torch
from torch import Tensor

from autodelta.candidate import Candidate
from autodelta.deltas.compose import Composition, compose
from autodelta.engine.activations import Activations
from autodelta.engine.forward import Forward, Memory
from tests.models import TINY, batch

PARTS = {
    "lora": ("q", {"rank": 2, "alpha": 4}),
    "lora on the keys": ("k", {"rank": 2, "alpha": 4}),
    "bitfit": ("v", {}),
    "full": ("v", {}),
    "prefix": ("keys_values", {"length": 2}),
}


@lru_cache(maxsize=8)
def wide(name: str) -> Any:
    return copy.deepcopy(TINY[name]()).double().requires_grad_(False)


def composed(model: Any, place: str) -> Composition:
    part, config = PARTS[place]
    delta = {"method": place.split()[0], "roles": [f"decoder.cross_attn.{part}"], "learning_rate": 0.01}
    plan = {"deltas": [{**delta, "config": config}], "training": {"steps": 1, "batch_size": 1}}
    composition = compose(model, Candidate.model_validate(plan)).double()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in composition.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype) * 0.3)
    return composition


def step(forward: Forward, composition: Composition, kept: Activations, seed: int) -> list[Tensor]:
    given = batch(seed=seed, padded=True)
    memory = kept.encode(forward, given["input_ids"], given["attention_mask"], device=torch.device("cpu"))
    loss = forward.loss(memory, given["labels"])
    return [loss, *torch.autograd.grad(loss, list(composition.parameters()))]


@pytest.mark.parametrize("place", PARTS)
@pytest.mark.parametrize("name", TINY)
def test_kept_keys_and_values_change_no_bit_of_loss_and_gradients(name: str, place: str) -> None:
    model = wide(name)
    composition = composed(model, place)
    forward, kept = Forward(model, composition), Activations()
    for seed in (1, 2, 1, 2, 1):
        found, expected = (step(forward, composition, one, seed) for one in (kept, Activations(0)))
        assert all(torch.equal(ours, theirs) for ours, theirs in zip(found, expected, strict=True))


def made(forward: Forward) -> list[int]:
    """Grows by one with every making of keys and values that are kept."""
    count: list[int] = []
    products = forward.products
    forward.products = lambda memory: count.append(1) or products(memory)  # type: ignore[func-returns-value, method-assign]
    return count


def entering(kept: Activations, forward: Forward, seed: int) -> Memory:
    ids = batch(seed=seed)["input_ids"]
    return kept.entering(forward, ids, None, device=ids.device)


@pytest.mark.parametrize(("place", "times"), [("lora", 2), ("lora on the keys", 2), ("prefix", 2), ("full", 0)])
def test_frozen_keys_and_values_are_made_once_a_batch_and_not_where_a_weight_is_replaced(
    place: str, times: int
) -> None:
    model = wide("deep_decoder")
    forward, kept = Forward(model, composed(model, place)), Activations()
    count = made(forward)
    for seed in (1, 2, 1, 2):
        assert bool(entering(kept, forward, seed).products) == bool(times)
    assert len(count) == times


def test_nothing_is_kept_of_a_memory_that_a_delta_changes() -> None:
    model = wide("original")
    delta = {"method": "bitfit", "roles": ["encoder.final_norm"], "config": {}, "learning_rate": 0.01}
    plan = Candidate.model_validate({"deltas": [delta], "training": {"steps": 1, "batch_size": 1}})
    ids, kept = batch()["input_ids"], Activations()
    assert not kept.encode(Forward(model, compose(model, plan).double()), ids, None, device=ids.device).products


def test_keys_and_values_make_way_for_memories_and_take_no_room_from_them() -> None:
    model = wide("original")
    forward = Forward(model)
    memory = forward.encode(batch()["input_ids"], None)
    size, beside = memory.hidden.nbytes, forward.product_bytes(memory)
    assert beside == sum(one.nbytes for block in forward.products(memory) for one in block)
    kept = Activations(3 * size + beside)
    assert [bool(entering(kept, forward, seed).products) for seed in (1, 2, 3)] == [True, False, False]
    assert kept.held_bytes == 3 * size + beside
    entering(kept, forward, 4)
    assert kept.held_bytes == 4 * size <= kept.most_bytes < 4 * size + beside
    begun: list[int] = []
    begin = forward.begin
    forward.begin = lambda *a: begun.append(1) or begin(*a)  # type: ignore[func-returns-value, method-assign]
    for seed in (1, 2, 3, 4):
        entering(kept, forward, seed)
    assert not begun
    kept.clear()
    assert kept.held_bytes == 0
