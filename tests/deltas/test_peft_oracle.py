"""peft as the oracle: the same weights in, the same outputs and gradients out."""

import copy
from typing import Any

import peft
import pytest
import torch
from torch import Tensor

from autodelta.candidate import Candidate, Delta, Training
from autodelta.deltas.attached import attach
from tests.deltas.conformance import perturb
from tests.models import TINY, batch

NAMES = {"self_attn": "SelfAttention", "cross_attn": "EncDecAttention"}


def candidate(method: str, roles: tuple[str, ...], **config: object) -> Candidate:
    delta = {"method": method, "roles": roles, "config": config, "learning_rate": 1e-3}
    return Candidate(deltas=(Delta.model_validate(delta),), training=Training(steps=1, batch_size=1))


def outcome(model: Any, rows: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    output = model(**rows)
    output.loss.backward()
    return output.loss, output.logits


def close(one: object, two: object) -> None:
    torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("tiny", TINY)
def test_lora(tiny: str) -> None:
    model = TINY[tiny]()
    theirs = peft.get_peft_model(
        copy.deepcopy(model),
        peft.LoraConfig(r=3, lora_alpha=7, target_modules=["q", "v", "wo"], task_type="SEQ_2_SEQ_LM"),
    )
    roles = tuple(
        f"{stack}.{part}"
        for stack in ("encoder", "decoder")
        for part in ("self_attn.q", "self_attn.v", "cross_attn.q", "cross_attn.v", "ffn.out")
        if not (stack == "encoder" and "cross" in part)
    )
    with attach(model, candidate("lora", roles, rank=3, alpha=7)) as attached:
        perturb(attached, scale=0.1)
        pairs = []
        for site, (slot,) in attached.composition.slots.items():
            attention, _, name = site.part.rpartition(".")
            path = f"{NAMES[attention]}.{name}" if attention in NAMES else "DenseReluDense.wo"
            (target,) = [
                module
                for module_name, module in theirs.named_modules()
                if f"{site.stack}.block.{site.block}." in module_name and module_name.endswith(path)
            ]
            pairs += [(slot.a, target.lora_A["default"].weight), (slot.b, target.lora_B["default"].weight)]
        with torch.no_grad():
            for ours, other in pairs:
                other.copy_(ours)
        close(outcome(model, batch(padded=True)), outcome(theirs, batch(padded=True)))
        close([ours.grad for ours, _ in pairs], [other.grad for _, other in pairs])


@pytest.mark.parametrize("tiny", TINY)
def test_prompt(tiny: str) -> None:
    """peft's prompt tuning of a T5 puts the prompt before the encoder's input."""
    model = TINY[tiny]()
    theirs = peft.get_peft_model(
        copy.deepcopy(model),
        peft.PromptTuningConfig(task_type="SEQ_2_SEQ_LM", num_virtual_tokens=4, num_transformer_submodules=1),
    )
    with attach(model, candidate("prompt", ("encoder.embeddings",), length=4)) as attached:
        perturb(attached, scale=0.1)
        (ours,) = attached.parameters()
        other = theirs.prompt_encoder["default"].embedding.weight
        with torch.no_grad():
            other.copy_(ours)
        close(outcome(model, batch(padded=True)), outcome(theirs, batch(padded=True)))
        close(ours.grad, other.grad)
