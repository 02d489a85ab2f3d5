from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForSeq2SeqLM

from autodelta.candidate import Candidate, Delta, Training
from autodelta.deltas.attached import attach
from autodelta.deltas.merge import Merged, merge
from autodelta.deltas.spec import MethodConfig, specs
from autodelta.errors import UserError
from autodelta.shape import BackboneShape
from tests.deltas.conformance import candidate_of, logits, perturb
from tests.models import TINY, batch, original, umt5

FOLDABLE = {"bitfit", "full", "ia3", "lora", "norm", "selective", "subspace", "vera"}
VARIANTS = [(name, config) for name, spec in specs().items() for config in spec.small]


def trained(model: Any, candidate: Candidate) -> tuple[dict[str, Tensor], Tensor]:
    """Weights of a candidate, and what the model says with them."""
    with attach(model, candidate) as attached:
        perturb(attached, scale=0.1)
        return attached.state_dict(), logits(model, batch(padded=True))


def after(model: Any, merged: Merged) -> Tensor:
    """What the merged model says, with what was left attached to it."""
    if merged.left is None:
        return logits(model, batch(padded=True))
    with attach(model, merged.left) as attached:
        attached.load_state_dict(merged.left_state)
        return logits(model, batch(padded=True))


def delta(method: str, *roles: str, **config: object) -> Delta:
    return Delta.model_validate({"method": method, "roles": roles, "config": config, "learning_rate": 1e-3})


def candidate(*deltas: Delta) -> Candidate:
    return Candidate(deltas=deltas, training=Training(steps=1, batch_size=1))


@pytest.mark.parametrize(("method", "config"), VARIANTS, ids=[f"{n}-{c.model_dump_json()}" for n, c in VARIANTS])
@pytest.mark.parametrize("tiny", ["original", "wide_heads", "umt5"])
def test_a_merged_model_says_what_the_attached_deltas_said(tiny: str, method: str, config: MethodConfig) -> None:
    model = TINY[tiny]()
    planned = candidate_of(BackboneShape.of(model), (method, config))
    state, expected = trained(model, planned)
    merged = merge(model, planned, state)
    torch.testing.assert_close(after(model, merged), expected, atol=1e-4, rtol=1e-4)
    assert (merged.left is None) == (method in FOLDABLE - {"bitfit"})
    assert bool(merged.biases) == (method == "bitfit")
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_everything_at_once_is_folded_as_far_as_it_goes() -> None:
    model = umt5()
    planned = candidate_of(BackboneShape.of(model), *((name, spec.small[-1]) for name, spec in specs().items()))
    state, expected = trained(model, planned)
    merged = merge(model, planned, state)
    torch.testing.assert_close(after(model, merged), expected, atol=2e-4, rtol=2e-4)
    assert merged.left is not None
    assert set(merged.left.methods) == {"adapter", "bitfit", "compacter", "prefix", "prompt"}
    assert {role.rsplit(".", 1)[-1] for d in merged.left.deltas if d.method == "bitfit" for role in d.roles} <= {
        "norm",
        "final_norm",
    }


def test_biases_may_be_left_with_what_follows_them() -> None:
    model = original()
    where = ("encoder.self_attn.k", "decoder.ffn.in")
    planned = candidate(
        delta("lora", *where, rank=2),
        delta("bitfit", *where).model_copy(update={"encoder_blocks": (1,), "decoder_blocks": (0,)}),
        delta("ia3", *where),
    )
    state, expected = trained(model, planned)
    merged = merge(model, planned, state, biases=False)
    torch.testing.assert_close(after(model, merged), expected, atol=1e-4, rtol=1e-4)
    assert merged.left is not None
    assert merged.biases == ()
    assert {(d.method, d.roles, d.encoder_blocks, d.decoder_blocks) for d in merged.left.deltas} == {
        ("bitfit", where[::-1], (1,), (0,)),
        ("ia3", (where[0],), (1,), None),
        ("ia3", (where[1],), None, (0,)),
    }


def test_nothing_is_folded_below_what_is_left_and_reads_the_frozen_weight() -> None:
    """(IA)³ at ffn.out computes with the weight of the model that it is attached to."""
    model, where = original(), ("decoder.ffn.out",)
    planned = candidate(delta("lora", *where, rank=2), delta("bitfit", *where), delta("ia3", *where))
    state, expected = trained(model, planned)
    merged = merge(model, planned, state, biases=False)
    torch.testing.assert_close(after(model, merged), expected, atol=1e-4, rtol=1e-4)
    assert merged.left is not None
    assert merged.left.methods == ("lora", "bitfit", "ia3")


@pytest.mark.parametrize(
    ("method", "config"),
    [
        ("selective", {"budget": 300}),
        ("selective", {"budget": 400, "unit": "weight"}),
        ("subspace", {"dimension": 400}),
        ("vera", {"rank": 5}),
    ],
)
def test_what_is_shared_by_all_sites_is_left_at_all_of_them(method: str, config: dict[str, Any]) -> None:
    """A budget, a subspace or projections of a part of the sites would be others."""
    model, where = original(d_ff=8), ("encoder.self_attn.o", "encoder.ffn.out")
    planned = candidate(delta(method, *where, **config), delta("bitfit", where[1]), delta("ia3", *where))
    state, expected = trained(model, planned)
    merged = merge(model, planned, state, biases=False)
    torch.testing.assert_close(after(model, merged), expected, atol=1e-4, rtol=1e-4)
    assert merged.left is not None
    assert merged.left.methods == (method, "bitfit", "ia3")


@pytest.mark.parametrize(
    "roles",
    [
        ("encoder.tokens", "decoder.tokens", "decoder.lm_head"),
        ("encoder.tokens",),
        ("decoder.tokens", "decoder.lm_head"),
        ("decoder.lm_head",),
    ],
)
@pytest.mark.parametrize("tiny", ["original", "gated", "umt5"])
def test_a_merged_checkpoint_loads_as_a_plain_t5(tiny: str, roles: tuple[str, ...], tmp_path: Path) -> None:
    model = TINY[tiny]()
    tied = BackboneShape.of(model).tied
    planned = candidate(delta("full", *roles), delta("lora", "decoder.cross_attn.q", rank=2))
    state, expected = trained(model, planned)
    assert merge(model, planned, state).notes == ()
    assert BackboneShape.of(model).tied == (tied and len(roles) == 3)
    model.save_pretrained(tmp_path)
    again = AutoModelForSeq2SeqLM.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(logits(again, batch(padded=True)), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("biases", [True, False])
def test_biases_of_an_earlier_merge_are_folded_into_what_comes_later(biases: bool) -> None:
    model, where = original(), ("encoder.self_attn.k", "decoder.ffn.out")
    for planned in (candidate(delta("bitfit", *where)), candidate(delta("bitfit", *where), delta("ia3", *where))):
        state, expected = trained(model, planned)
        merged = merge(model, planned, state, biases=biases or len(planned.deltas) == 1)
        torch.testing.assert_close(after(model, merged), expected, atol=1e-4, rtol=1e-4)
        assert merged.left is None


def test_attached_deltas_are_taken_off_before_they_are_merged() -> None:
    """They would count twice."""
    model, planned = original(), candidate(delta("lora", "encoder.ffn.in", rank=2))
    with attach(model, planned) as attached, pytest.raises(UserError, match="detach"):
        merge(model, planned, attached.state_dict())


def test_what_merging_cannot_do_is_said() -> None:
    model = original().to(torch.bfloat16)
    planned = candidate(
        delta("adapter", "encoder.ffn", "decoder.ffn", bottleneck=2),
        delta("bitfit", "encoder.ffn.in", "decoder.final_norm"),
    )
    state, _ = trained(model, planned)
    notes = merge(model, planned, state).notes
    assert [note.split(";")[0] for note in notes] == [
        "bitfit at decoder.final_norm cannot be folded into weights and must be attached",
        "adapter at decoder.ffn, encoder.ffn cannot be folded into weights and must be attached",
        "encoder.ffn.in have biases now, which from_pretrained does not load into a T5: keep the model in memory",
        "the weights are torch.bfloat16: what was trained in float32 is rounded",
    ]
