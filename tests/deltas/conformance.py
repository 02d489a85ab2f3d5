"""What every composition of deltas must hold on any T5: one function a rule, run over all that is registered."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, EncoderDecoderCache

from autodelta.candidate import Candidate, Delta, Training
from autodelta.deltas.attached import Attached, attach
from autodelta.deltas.spec import MethodConfig, spec
from autodelta.shape import BackboneShape
from tests.models import SIZES, batch

CLOSE = {"atol": 1e-5, "rtol": 1e-5}  # in float64, where only the norms' variance is float32


def roles_of(method: str, shape: BackboneShape) -> tuple[str, ...]:
    """Every role of a backbone at which a method may stand."""
    return tuple(role for role in shape.kinds() if role.split(".", 1)[1] in spec(method).parts)


def candidate_of(shape: BackboneShape, *deltas: tuple[str, MethodConfig]) -> Candidate:
    """Methods at every role that they accept."""
    return Candidate(
        deltas=tuple(
            Delta(method=method, roles=roles_of(method, shape), config=config, learning_rate=1e-3)
            for method, config in deltas
        ),
        training=Training(steps=1, batch_size=1),
    )


def perturb(attached: Attached, *, scale: float = 0.3) -> None:
    """Moves every parameter away from its start, so that the deltas do something."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in attached.parameters():
            parameter += scale * torch.randn(parameter.shape, generator=generator).to(parameter)


@contextmanager
def perturbed(model: Any, candidate: Candidate) -> Iterator[Attached]:
    with attach(model, candidate) as attached:
        attached.composition.to(model.dtype)
        perturb(attached)
        yield attached


@lru_cache(maxsize=16)
def wide(model: Any) -> Any:
    """A copy in float64, where two ways to the same numbers can be told from two that differ a little."""
    return copy.deepcopy(model).double()


@lru_cache(maxsize=16)
def half(model: Any) -> Any:
    return copy.deepcopy(model).to(torch.bfloat16)


def logits(model: Any, rows: dict[str, Tensor]) -> Tensor:
    with torch.no_grad():
        return model(**rows).logits


def the_count_is_exact(model: Any, candidate: Candidate) -> None:
    with attach(model, candidate) as attached:
        assert sum(p.numel() for p in attached.parameters()) == candidate.count_parameters(BackboneShape.of(model))


def a_fresh_identity_changes_nothing(model: Any, candidate: Candidate) -> None:
    if not all(spec(method).identity_at_start for method in candidate.methods):
        return
    before = logits(model, batch(padded=True))
    with attach(model, candidate):
        assert torch.equal(logits(model, batch(padded=True)), before)


def a_trained_delta_changes_the_output(model: Any, candidate: Candidate) -> None:
    before = logits(model, batch())
    with perturbed(model, candidate):
        assert not torch.allclose(logits(model, batch()), before, atol=1e-4)


def detaching_restores_everything(model: Any, candidate: Candidate) -> None:
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    before = logits(model, batch(padded=True))
    configs = [copy.deepcopy(stack.config.__dict__) for stack in (model, model.encoder, model.decoder)]
    hooks = _hooks(model)
    with perturbed(model, candidate) as attached:
        model(**batch()).loss.backward()
    attached.detach()
    assert torch.equal(logits(model, batch(padded=True)), before)
    assert _hooks(model) == hooks
    assert [stack.config.__dict__ for stack in (model, model.encoder, model.decoder)] == configs
    assert model.state_dict().keys() == state.keys()
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


def gradients_reach_the_deltas_alone(model: Any, candidate: Candidate) -> None:
    model.requires_grad_(True)
    with perturbed(model, candidate) as attached:
        assert not any(parameter.requires_grad for parameter in model.parameters())
        model(**batch()).loss.backward()
        for name, tensor in attached.composition.tensors().items():
            if tensor.requires_grad:
                assert tensor.grad is not None, name
                assert torch.isfinite(tensor.grad).all(), name
        for delta, parameters in attached.groups():
            assert parameters, delta.method
            assert any(p.grad is not None and p.grad.abs().max() > 1e-7 for p in parameters), delta.method
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    model.requires_grad_(False)


def saved_deltas_load_exactly(model: Any, candidate: Candidate) -> None:
    with perturbed(model, candidate) as attached:
        state = {name: tensor.clone() for name, tensor in attached.state_dict().items()}
        expected = logits(model, batch())
    with attach(copy.deepcopy(model), candidate, seed=99) as other:
        other.load_state_dict(state)
        assert torch.equal(logits(other.model, batch()), expected)
        assert all(torch.equal(tensor, state[name]) for name, tensor in other.state_dict().items())


def padding_changes_nothing(model: Any, candidate: Candidate) -> None:
    model, rows = wide(model), batch(padded=True)
    with perturbed(model, candidate):
        together = logits(model, rows)
        for row in range(rows["input_ids"].shape[0]):
            length = int(rows["attention_mask"][row].sum())
            alone = {"input_ids": rows["input_ids"][row : row + 1, :length], "labels": rows["labels"][row : row + 1]}
            torch.testing.assert_close(logits(model, alone)[0], together[row], **CLOSE)


def a_later_token_changes_no_earlier_logit(model: Any, candidate: Candidate) -> None:
    model, rows = wide(model), batch()
    ids = rows["labels"]
    changed = ids.clone()
    changed[:, 3] = (changed[:, 3] + 5) % SIZES["vocab_size"]
    with perturbed(model, candidate):
        for given in ({}, {"decoder_attention_mask": torch.ones_like(ids)}):
            one, two = (
                logits(model, {"input_ids": rows["input_ids"], "decoder_input_ids": decoded, **given})
                for decoded in (ids, changed)
            )
            torch.testing.assert_close(one[:, :3], two[:, :3], **CLOSE)
            assert not torch.allclose(one[:, 3:], two[:, 3:], atol=1e-4)


def encoder_outputs_may_be_handed_in(model: Any, candidate: Candidate) -> None:
    rows = batch(padded=True)
    with perturbed(model, candidate), torch.no_grad():
        encoded = model.encoder(input_ids=rows["input_ids"], attention_mask=rows["attention_mask"])
        again = model(encoder_outputs=encoded, attention_mask=rows["attention_mask"], labels=rows["labels"])
        assert torch.equal(again.logits, model(**rows).logits)


def cached_generation_equals_uncached(model: Any, candidate: Candidate) -> None:
    model = wide(model)
    rows = {name: tensor for name, tensor in batch(padded=True).items() if name != "labels"}
    settings = {"max_new_tokens": 3, "min_new_tokens": 3, "output_logits": True, "return_dict_in_generate": True}
    with perturbed(model, candidate), torch.no_grad():
        # transformers 5.23 sizes its own cache by the encoder's depth, too small for a deeper decoder.
        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        cached = model.generate(**rows, **settings, past_key_values=cache)
        plain = model.generate(**rows, **settings, use_cache=False)
        steps = torch.stack(cached.logits, dim=1)
        torch.testing.assert_close(steps, torch.stack(plain.logits, dim=1), **CLOSE)
        taught = model(**rows, decoder_input_ids=cached.sequences[:, :-1]).logits
        torch.testing.assert_close(steps, taught.to(steps.dtype), **CLOSE)


def a_bfloat16_backbone_trains(model: Any, candidate: Candidate) -> None:
    model = half(model)
    with attach(model, candidate) as attached:
        optimiser = torch.optim.AdamW(attached.parameters(), lr=1e-3)
        for _ in range(2):
            loss = model(**batch(padded=True)).loss
            assert loss.dtype == torch.bfloat16
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        for parameter in attached.parameters():
            assert parameter.dtype == torch.float32
            assert torch.isfinite(parameter).all()
        assert torch.isfinite(logits(model, batch())).all()


RULES = (
    the_count_is_exact,
    a_fresh_identity_changes_nothing,
    a_trained_delta_changes_the_output,
    detaching_restores_everything,
    gradients_reach_the_deltas_alone,
    saved_deltas_load_exactly,
    padding_changes_nothing,
    a_later_token_changes_no_earlier_logit,
    encoder_outputs_may_be_handed_in,
    cached_generation_equals_uncached,
    a_bfloat16_backbone_trains,
)


def _hooks(model: Any) -> list[tuple[int, int, bool]]:
    return [
        (len(module._forward_hooks), len(module._forward_pre_hooks), "forward" in module.__dict__)
        for module in model.modules()
    ]
