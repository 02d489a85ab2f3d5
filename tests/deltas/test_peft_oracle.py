"""peft as the oracle: the same weights in, the same outputs and gradients out."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import peft
import pytest
import torch
from torch import Tensor, nn

from autodelta.backbones import roles
from autodelta.candidate import Candidate, Delta, Training
from autodelta.deltas.attached import Attached, attach
from autodelta.shape import Site
from tests.deltas.conformance import perturb
from tests.models import TINY, batch, original

LINEAR = ("encoder.self_attn.q", "encoder.ffn.out", "decoder.self_attn.v", "decoder.cross_attn.k", "decoder.ffn.out")
Pair = tuple[Tensor, Tensor]


def candidate(method: str, where: tuple[str, ...], **config: object) -> Candidate:
    delta = {"method": method, "roles": where, "config": config, "learning_rate": 1e-3}
    return Candidate(deltas=(Delta.model_validate(delta),), training=Training(steps=1, batch_size=1))


def outcome(model: Any, rows: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    output = model(**rows)
    output.loss.backward()
    return output.loss, output.logits


def close(one: object, two: object) -> None:
    torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-5)


def paths(model: Any, where: tuple[str, ...]) -> dict[Site, str]:
    """The module paths of sites, which is how peft names them."""
    names = {module: name for name, module in model.named_modules()}
    return {site: names[module] for site, module in roles.modules(model).items() if site.role in where}


def compare(model: Any, theirs: Any, attached: Attached, pairs: list[Pair]) -> None:
    """The same weights go into both; losses, logits and gradients must agree."""
    perturb(attached, scale=0.1)
    with torch.no_grad():
        for ours, other in pairs:
            other.copy_(ours)
    close(outcome(model, batch(padded=True)), outcome(theirs, batch(padded=True)))
    close([ours.grad for ours, _ in pairs], [other.grad for _, other in pairs])
    assert len(pairs) == len(list(attached.parameters()))


def at_sites(model: Any, config: Any, planned: Candidate, tensors: Callable[[Any, nn.Module], Iterator[Pair]]) -> None:
    """Compares a method that peft puts into modules, given which of its tensors is which of ours."""
    where = planned.deltas[0].roles
    theirs = peft.get_peft_model(copy.deepcopy(model), config)
    with attach(model, planned) as attached:
        pairs = [
            pair
            for site, path in paths(model, where).items()
            for pair in tensors(attached.composition.at(site)[0], theirs.base_model.model.get_submodule(path))
        ]
        compare(model, theirs, attached, pairs)


@pytest.mark.parametrize("variant", [{}, {"rslora": True}, {"dora": True}], ids=["lora", "rslora", "dora"])
@pytest.mark.parametrize("tiny", TINY)
def test_lora(tiny: str, variant: dict[str, bool]) -> None:
    model = TINY[tiny]()
    targets = list(paths(model, LINEAR).values())
    theirs = {"use_rslora" if name == "rslora" else "use_dora": True for name in variant}
    config = peft.LoraConfig(r=3, lora_alpha=7, target_modules=targets, task_type="SEQ_2_SEQ_LM", **theirs)

    def tensors(slot: Any, module: Any) -> Iterator[Pair]:
        yield slot.a, module.lora_A["default"].weight
        yield slot.b, module.lora_B["default"].weight
        if variant.get("dora"):
            yield slot.magnitude, module.lora_magnitude_vector["default"].weight

    at_sites(model, config, candidate("lora", LINEAR, rank=3, alpha=7, **variant), tensors)


@pytest.mark.parametrize("tiny", TINY)
def test_ia3(tiny: str) -> None:
    model = TINY[tiny]()
    found = paths(model, LINEAR)
    config = peft.IA3Config(
        target_modules=list(found.values()),
        feedforward_modules=[path for site, path in found.items() if site.part == "ffn.out"],
        task_type="SEQ_2_SEQ_LM",
    )
    theirs = peft.get_peft_model(copy.deepcopy(model), config)
    with attach(model, candidate("ia3", LINEAR)) as attached:
        perturb(attached, scale=0.1)
        pairs = []
        for site, path in found.items():
            scale = theirs.base_model.model.get_submodule(path).ia3_l["default"]
            ours = attached.composition.at(site)[0].scale
            with torch.no_grad():
                scale.copy_(ours.view_as(scale))
            pairs.append((ours, scale))
        close(outcome(model, batch(padded=True)), outcome(theirs, batch(padded=True)))
        close([ours.grad for ours, _ in pairs], [scale.grad.flatten() for _, scale in pairs])


@pytest.mark.parametrize("tiny", TINY)
def test_vera(tiny: str) -> None:
    model = TINY[tiny]()
    where = ("encoder.self_attn.q", "decoder.cross_attn.k")
    config = peft.VeraConfig(r=6, target_modules=list(paths(model, where).values()), task_type="SEQ_2_SEQ_LM")

    def tensors(slot: Any, module: Any) -> Iterator[Pair]:
        (shared,) = slot._shared
        shared.a.copy_(module.vera_A["default"])
        shared.b.copy_(module.vera_B["default"])
        yield slot.d, module.vera_lambda_d["default"]
        yield slot.b, module.vera_lambda_b["default"]

    at_sites(model, config, candidate("vera", where, rank=6), tensors)


@pytest.mark.parametrize("tiny", TINY)
def test_norm(tiny: str) -> None:
    """peft's LN tuning trains the scale itself, which is ours plus the frozen one."""
    model = TINY[tiny]()
    where = ("encoder.ffn.norm", "decoder.cross_attn.norm", "decoder.final_norm")
    found = paths(model, where)
    theirs = peft.get_peft_model(
        copy.deepcopy(model), peft.LNTuningConfig(target_modules=list(found.values()), task_type="SEQ_2_SEQ_LM")
    )
    with attach(model, candidate("norm", where)) as attached:
        perturb(attached, scale=0.1)
        pairs = []
        for site, path in found.items():
            scale = theirs.base_model.model.get_submodule(path).ln_tuning_layers["default"].weight
            ours = attached.composition.at(site)[0].delta
            with torch.no_grad():
                scale.add_(ours)
            pairs.append((ours, scale))
        close(outcome(model, batch(padded=True)), outcome(theirs, batch(padded=True)))
        close([ours.grad for ours, _ in pairs], [scale.grad for _, scale in pairs])


@pytest.mark.parametrize("tiny", TINY)
def test_prompt(tiny: str) -> None:
    """peft's prompt tuning of a T5 puts the prompt before the encoder's input."""
    model = TINY[tiny]()
    theirs = peft.get_peft_model(
        copy.deepcopy(model),
        peft.PromptTuningConfig(task_type="SEQ_2_SEQ_LM", num_virtual_tokens=4, num_transformer_submodules=1),
    )
    with attach(model, candidate("prompt", ("encoder.embeddings",), length=4)) as attached:
        (ours,) = attached.parameters()
        compare(model, theirs, attached, [(ours, theirs.prompt_encoder["default"].embedding.weight)])


@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_decoder_prefix(blocks: int) -> None:
    """Two things in peft's way are allowed for.

    It gives a prefix the positions before the first token, so the position biases are taken away. And it cuts the
    prefixes of n encoder-decoder blocks so that block i gets number 2 i mod n, unused ones and all.
    """
    model = original(num_layers=blocks, num_decoder_layers=blocks)
    with torch.no_grad():
        model.decoder.block[0].layer[0].SelfAttention.relative_attention_bias.weight.zero_()
    theirs = peft.get_peft_model(
        copy.deepcopy(model), peft.PrefixTuningConfig(task_type="SEQ_2_SEQ_LM", num_virtual_tokens=3)
    )
    width = 2 * model.config.d_model
    with torch.no_grad():
        other = theirs.prompt_encoder["default"].embedding.weight.mul_(0.3)
    with attach(model, candidate("prefix", ("decoder.self_attn.keys_values",), length=3)) as attached:
        ours = list(attached.parameters())
        for block, tensor in enumerate(ours):
            tensor.data.copy_(other.split(width, dim=1)[2 * block % blocks])
        close(outcome(model, batch(padded=True)), outcome(theirs, batch(padded=True)))
        for number, gradient in enumerate(other.grad.split(width, dim=1)):
            users = [tensor.grad for block, tensor in enumerate(ours) if 2 * block % blocks == number]
            close(sum(users, torch.zeros(3, width)), gradient)
