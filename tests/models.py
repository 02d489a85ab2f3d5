"""Tiny T5s with random weights, one for every way in which T5s differ, and rows for them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    MT5Config,
    MT5ForConditionalGeneration,
    T5Config,
    T5ForConditionalGeneration,
    UMT5Config,
    UMT5ForConditionalGeneration,
)

SIZES = {
    "vocab_size": 48,
    "d_model": 16,
    "d_kv": 4,
    "d_ff": 24,
    "num_layers": 2,
    "num_decoder_layers": 2,
    "num_heads": 4,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 16,
    "decoder_start_token_id": 0,
    "pad_token_id": 0,
    "eos_token_id": 1,
}


def original(**sizes: Any) -> T5ForConditionalGeneration:
    """T5 as first published: ReLU, tied embeddings."""
    return _ready(T5ForConditionalGeneration(T5Config(**{**SIZES, **sizes})))


V1_1 = {**SIZES, "num_layers": 1, "num_decoder_layers": 1, "feed_forward_proj": "gated-gelu"}


def gated() -> T5ForConditionalGeneration:
    """T5 v1.1: a gated feed-forward network and an output layer of its own."""
    return _ready(_untied(T5ForConditionalGeneration(T5Config(**V1_1, tie_word_embeddings=False))))


def wide_heads() -> MT5ForConditionalGeneration:
    """mT5: d_kv is not d_model / num_heads, as in mt5-small, flan-t5-small and t5-3b, too."""
    config = MT5Config(**{**V1_1, "d_kv": 6, "num_heads": 3})
    return _ready(_untied(MT5ForConditionalGeneration(config)))


def deep_encoder() -> T5ForConditionalGeneration:
    """The decoder is shallower than the encoder."""
    return original(num_layers=2, num_decoder_layers=1)


def deep_decoder() -> T5ForConditionalGeneration:
    """The decoder is deeper than the encoder, with eager attention."""
    return original(num_layers=1, num_decoder_layers=2, attn_implementation="eager")


def umt5() -> UMT5ForConditionalGeneration:
    """UMT5: a relative position bias in every block."""
    config = UMT5Config(**{**SIZES, "feed_forward_proj": "gated-gelu", "num_layers": 2, "num_decoder_layers": 1})
    return _ready(_untied(UMT5ForConditionalGeneration(config)))


TINY: dict[str, Callable[[], Any]] = {
    model.__name__: model for model in (original, gated, wide_heads, deep_encoder, deep_decoder, umt5)
}


def _untied(model: Any) -> Any:
    model.lm_head.weight = nn.Parameter(torch.empty_like(model.lm_head.weight))
    return model


def _ready(model: Any) -> Any:
    """Weights that depend on nothing but their names' order, large enough that every part matters; frozen."""
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 1, generator=generator).mul_(parameter.shape[-1] ** -0.5)
            if parameter.dim() == 1:
                parameter.add_(1)
    return model.eval().requires_grad_(False)


def batch(rows: int = 3, length: int = 7, target: int = 5, *, seed: int = 5, padded: bool = False) -> dict[str, Tensor]:
    """Inputs and labels; padded: with rows of unlike lengths."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(2, SIZES["vocab_size"], (rows, length), generator=generator)
    labels = torch.randint(2, SIZES["vocab_size"], (rows, target), generator=generator)
    mask = torch.ones_like(ids)
    if padded:
        for row in range(rows):
            mask[row, length - row :] = 0
        ids = ids * mask
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}
