"""Pretraining's steps leave what blocks write to the residual stream as large as it was."""

from typing import Any

import pytest
import torch
from transformers import T5Config, T5ForConditionalGeneration

from autodelta.backbones.pretrain.optimiser import HELD, Optimiser
from autodelta.backbones.pretrain.plan import Stable

LAST_GAIN = "decoder.final_layer_norm.weight"


def sizes(model: Any) -> dict[str, float]:
    return {name: weight.detach().square().mean().sqrt().item() for name, weight in model.named_parameters()}


@pytest.mark.parametrize("matrix_lr", [0.05, None])
def test_writers_keep_their_size_while_their_direction_changes(matrix_lr: float | None) -> None:
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=40, d_model=16, d_kv=4, d_ff=24, num_heads=4, num_layers=2, num_decoder_layers=1,
        feed_forward_proj="gated-gelu", dropout_rate=0.0, decoder_start_token_id=0,
    )  # fmt: skip
    model: Any = T5ForConditionalGeneration(config)
    rates = {"vector_lr": 0.05, "embedding_lr": 0.02, "position_lr": 0.01}
    optimiser = Optimiser(model, Stable(warmup_steps=1, matrix_lr=matrix_lr, **rates))
    optimiser.hold()
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    size, ids = sizes(model), torch.randint(2, 40, (4, 12))
    for _ in range(8):
        model(input_ids=ids, labels=ids).loss.backward()
        optimiser.step(1.0)
        model.zero_grad(set_to_none=True)
    for name, found in sizes(model).items():
        moved = not torch.allclose(dict(model.named_parameters())[name], before[name], atol=1e-4)
        if name.endswith(HELD):
            assert found == pytest.approx(size[name], rel=1e-5)
            assert moved
        elif "layer_norm" in name and name != LAST_GAIN:
            assert not moved
        else:
            assert moved
    assert any(found != pytest.approx(size[name], rel=1e-3) for name, found in sizes(model).items() if ".q." in name)


def test_each_kind_of_vector_has_a_rate_of_its_own() -> None:
    torch.manual_seed(0)
    shape: dict[str, Any] = {"d_model": 16, "d_kv": 4, "d_ff": 24, "num_heads": 4, "num_layers": 1}
    model: Any = T5ForConditionalGeneration(T5Config(vocab_size=40, decoder_start_token_id=0, **shape))
    plan = Stable(warmup_steps=1, matrix_lr=0.01, vector_lr=0.05, embedding_lr=0.02, position_lr=0.005)
    optimiser = Optimiser(model, plan)
    ids = torch.randint(2, 40, (4, 12))
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    model(input_ids=ids, labels=ids).loss.backward()
    optimiser.step(1.0)
    rates = {"shared": 0.02, "encoder.block.0.layer.0.SelfAttention.relative_attention_bias": 0.005}
    for name, rate in {**rates, "decoder.final_layer_norm": 0.05}.items():
        old, new = before[f"{name}.weight"], model.get_parameter(f"{name}.weight").detach()
        assert (new - old).abs().max() == pytest.approx(rate * old.square().mean().sqrt().item(), rel=0.01)
