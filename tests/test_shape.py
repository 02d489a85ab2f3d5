"""The exact size of a backbone, against models that are built."""

from typing import Any

import pytest

from autodelta.shape import BackboneShape


@pytest.mark.parametrize("family", ["T5", "MT5", "UMT5"])
@pytest.mark.parametrize("feed_forward", ["relu", "gated-gelu"])
@pytest.mark.parametrize("tied", [True, False])
def test_the_count_of_parameters_is_that_of_a_built_model(family: str, feed_forward: str, tied: bool) -> None:
    import transformers
    from torch import nn

    config: Any = getattr(transformers, f"{family}Config")(
        vocab_size=60,
        d_model=24,
        d_kv=5,
        d_ff=40,
        num_heads=3,
        num_layers=3,
        num_decoder_layers=2,
        relative_attention_num_buckets=7,
        feed_forward_proj=feed_forward,
    )
    model = getattr(transformers, f"{family}ForConditionalGeneration")(config)
    if not tied:  # as a checkpoint with an output layer of its own does, whatever the config says
        model.lm_head.weight = nn.Parameter(model.lm_head.weight.detach().clone())
    assert BackboneShape.of(model).count_parameters() == sum(p.numel() for p in model.parameters())
