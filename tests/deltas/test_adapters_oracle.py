"""The library `adapters` as the oracle, through what fixtures/record_adapters.py recorded of it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import T5Config, T5ForConditionalGeneration

from autodelta.candidate import Candidate, Delta, Training
from autodelta.deltas.attached import Attached, attach
from autodelta.shape import ATTENTIONS, Site

RECORDED = load_file(Path(__file__).parent / "fixtures" / "adapters.safetensors")
CONFIG = T5Config(
    vocab_size=20,
    d_model=8,
    d_kv=3,
    d_ff=12,
    num_layers=2,
    num_decoder_layers=2,
    num_heads=2,
    relative_attention_num_buckets=8,
    relative_attention_max_distance=16,
    decoder_start_token_id=0,
    dropout_rate=0.0,
)
EVERY_SUBLAYER = (
    "encoder.self_attn",
    "encoder.ffn",
    "decoder.self_attn",
    "decoder.cross_attn",
    "decoder.ffn",
)
PREFIXES = {
    "encoder_prefix": "encoder.self_attn.keys_values",
    "self_prefix": "decoder.self_attn.keys_values",
    "cross_prefix": "decoder.cross_attn.keys_values",
}
Pair = tuple[Tensor, Tensor, Tensor]  # ours, and the recorded weight and gradient


def part(prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in RECORDED.items() if name.startswith(prefix)}


def backbone() -> Any:
    model = T5ForConditionalGeneration(CONFIG).eval().requires_grad_(False)
    model.load_state_dict(part("backbone/"), strict=False)
    model.tie_weights()
    return model


def check(case: str, planned: Candidate, pairs: Any) -> None:
    """Recorded weights in, recorded logits and gradients out."""
    model = backbone()
    with attach(model, planned) as attached:
        found = list(pairs(attached, part(f"{case}/weights/"), part(f"{case}/gradients/")))
        with torch.no_grad():
            for ours, weight, _ in found:
                ours.copy_(weight)
        output = model(**part("rows/"))
        output.loss.backward()
        torch.testing.assert_close(output.logits, RECORDED[f"{case}/logits"], atol=1e-5, rtol=1e-5)
        for ours, _, gradient in found:
            torch.testing.assert_close(ours.grad, gradient, atol=1e-5, rtol=1e-5)
        without = backbone()(**part("rows/")).logits
        assert not torch.allclose(output.logits, without, atol=1e-3)


def planned(*deltas: tuple[str, tuple[str, ...], dict[str, object]]) -> Candidate:
    return Candidate(
        deltas=tuple(
            Delta.model_validate({"method": method, "roles": where, "config": config, "learning_rate": 1e-3})
            for method, where, config in deltas
        ),
        training=Training(steps=1, batch_size=1),
    )


def adapter_site(name: str) -> Site:
    """`decoder.block.1.layer.2.adapters...` is the feed-forward network of the decoder's block 1."""
    stack, _, block, _, layer, *_ = name.split(".")
    sublayers = (*ATTENTIONS[stack], "ffn")  # type: ignore[index]
    return Site(stack, int(block), sublayers[int(layer)])  # type: ignore[arg-type]


def adapter_pairs(attached: Attached, weights: dict[str, Tensor], gradients: dict[str, Tensor]) -> Iterator[Pair]:
    ours = {
        "adapter_down.0.weight": "down",
        "adapter_down.0.bias": "down_bias",
        "adapter_up.weight": "up",
        "adapter_up.bias": "up_bias",
        "adapter_down.0.W_left": "down_left",
        "adapter_down.0.W_right": "down_right",
        "adapter_down.0.b": "down_bias",
        "adapter_up.W_left": "up_left",
        "adapter_up.W_right": "up_right",
        "adapter_up.b": "up_bias",
    }
    for name, weight in weights.items():
        if name.startswith("shared_parameters"):
            tensor = attached.composition.tensors()["0.compacter.shared.a"]
        else:
            tensor = getattr(attached.composition.at(adapter_site(name))[0], ours[name.split(".adapters.a.")[1]])
        yield tensor, weight, gradients[name]


@pytest.mark.parametrize(
    ("case", "method", "where", "config"),
    [
        ("serial", "adapter", EVERY_SUBLAYER, {"bottleneck": 4}),
        ("pfeiffer", "adapter", ("encoder.ffn", "decoder.ffn"), {"bottleneck": 4, "placement": "pfeiffer"}),
        ("parallel", "adapter", EVERY_SUBLAYER, {"bottleneck": 4, "placement": "parallel", "scale": 4.0}),
        ("compacter", "compacter", EVERY_SUBLAYER, {"bottleneck": 4, "divisions": 2}),
    ],
)
def test_bottlenecks(case: str, method: str, where: tuple[str, ...], config: dict[str, object]) -> None:
    check(case, planned((method, where, config)), adapter_pairs)


def test_prefixes_at_encoder_decoder_and_cross_attention() -> None:
    def pairs(attached: Attached, weights: dict[str, Tensor], gradients: dict[str, Tensor]) -> Iterator[Pair]:
        for name, weight in weights.items():
            role = PREFIXES[name.split(".")[-2]]
            both = [tensor.view(3, CONFIG.num_layers, -1) for tensor in (weight, gradients[name])]
            for block in range(CONFIG.num_layers):
                (slot,) = attached.composition.at(Site(role.split(".")[0], block, role.split(".", 1)[1]))  # type: ignore[arg-type]
                yield slot.keys_values, both[0][:, block], both[1][:, block]

    check("prefix", planned(*(("prefix", (role,), {"length": 3}) for role in PREFIXES.values())), pairs)


def test_prefixes_made_by_a_network() -> None:
    def pairs(attached: Attached, weights: dict[str, Tensor], gradients: dict[str, Tensor]) -> Iterator[Pair]:
        modules = dict(
            zip((delta.roles[0] for delta in attached.candidate.deltas), attached.composition.deltas, strict=True)
        )
        for name, weight in weights.items():
            location, _, tensor = name.split(".a.")[1].partition(".")
            module: Any = modules[PREFIXES[location]]
            if tensor.startswith("control_trans.2"):
                attribute, blocks = tensor.rsplit(".", 1)[1], CONFIG.num_layers
                cut = zip(module.slots.values(), weight.chunk(blocks), gradients[name].chunk(blocks), strict=True)
                for slot, own, gradient in cut:
                    yield getattr(slot, attribute), own, gradient
            else:
                shared = {
                    "wte.weight": "embeddings",
                    "control_trans.0.weight": "weight",
                    "control_trans.0.bias": "bias",
                }
                yield getattr(module.shared, shared[tensor]), weight, gradients[name]

    config = {"length": 3, "hidden": 5}
    check("prefix_network", planned(*(("prefix", (role,), config) for role in PREFIXES.values())), pairs)
