"""A trained T5 brought to T5's scales computes what it did."""

from typing import Any

import pytest
import torch
from transformers import T5Config, T5ForConditionalGeneration

from autodelta.backbones.pretrain.scale import centre, to_t5_scale


@pytest.fixture
def grown() -> Any:
    """A T5 whose tensors have the odd sizes that pretraining leaves."""
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=50, d_model=24, d_kv=4, d_ff=40, num_heads=3, num_layers=3, num_decoder_layers=2,
        feed_forward_proj="gated-gelu", tie_word_embeddings=True, dropout_rate=0.0,
    )  # fmt: skip
    model: Any = T5ForConditionalGeneration(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.mul_(1 + 3 * torch.rand(())).mul_(1 + 0.5 * torch.rand_like(weight) * ("norm" in name))
    return model.eval()


def logits(model: Any) -> torch.Tensor:
    ids = torch.arange(2, 26).reshape(2, 12)
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=ids, decoder_input_ids=ids[:, :5]).logits
    return found


def test_logits_stay_what_they_are(grown: Any) -> None:
    before = logits(grown)
    to_t5_scale(grown)
    assert torch.allclose(logits(grown), before, rtol=1e-3, atol=1e-3 * before.std().item())


def test_weights_have_the_sizes_at_which_t5_is_drawn(grown: Any) -> None:
    to_t5_scale(grown)
    rms = {name: weight.square().mean().sqrt().item() for name, weight in grown.named_parameters()}
    assert rms["shared.weight"] == pytest.approx(1)
    assert rms["encoder.block.2.layer.1.DenseReluDense.wi_1.weight"] == pytest.approx(24**-0.5)
    assert rms["decoder.block.1.layer.1.EncDecAttention.v.weight"] == pytest.approx(24**-0.5)
    cross = "decoder.block.0.layer.1.EncDecAttention"
    assert rms[f"{cross}.q.weight"] / rms[f"{cross}.k.weight"] == pytest.approx(4**-0.5)
    gains = [value for name, value in rms.items() if "norm" in name and name != "decoder.final_layer_norm.weight"]
    assert gains == [1.0] * len(gains)


def test_what_all_embeddings_have_in_common_moves_no_probability_of_the_next_token(grown: Any) -> None:
    hidden = torch.randn(4, 24)
    weight = grown.shared.weight.detach().clone() + 5
    before = (hidden @ weight.T).softmax(-1)
    centre(weight)
    assert torch.allclose(weight.mean(0), torch.zeros(24), atol=1e-5)
    assert torch.allclose((hidden @ weight.T).softmax(-1), before, atol=1e-4)
