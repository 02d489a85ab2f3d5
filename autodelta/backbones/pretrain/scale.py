"""Brings a trained T5's weights to the scales at which T5 is drawn, without changing what it computes.

Pretraining with steps relative to each tensor's size lets tensors grow that nothing holds: before a norm, a factor does
nothing. Fine-tuning with Adam moves every weight by about the learning rate, so weights three times as large are a
learning rate three times too small, and one tensor's is not the next one's. Here the gains of norms go into the
matrices that read them, and every pair of tensors whose product alone counts shares its size as T5's draw does (Mesh
TensorFlow's, ``T5PreTrainedModel._init_weights``).
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor


@torch.no_grad()
def to_t5_scale(model: Any) -> None:
    """In place. Logits stay what they are, to rounding and to what the norms add to a variance of zero.

    Args:
        model: a T5 with tied embeddings and gated feed-forward layers, in float32.
    """
    width, keys = model.config.d_model, model.config.d_kv
    _into_readers(model)
    residual = 1 / rms(model.shared.weight)
    model.shared.weight.mul_(residual)
    model.decoder.final_layer_norm.weight.div_(residual)
    for attention in attentions(model):
        _share(attention.q, attention.k, (rms(attention.k.weight) / rms(attention.q.weight) * keys**-0.5).sqrt())
        _share(attention.v, attention.o, width**-0.5 / rms(attention.v.weight))
        attention.o.weight.mul_(residual)
    for network in _networks(model):
        _share(network.wi_1, network.wo, width**-0.5 / rms(network.wi_1.weight))
        network.wo.weight.mul_(residual)


@torch.no_grad()
def centre(embeddings: Tensor) -> None:
    """Takes the mean row from all rows, in place.

    A vector that all embeddings have in common moves all logits alike, so no gradient holds it back; on the input's
    side it drowns what tells words apart (Mu and Viswanath 2018, *All-but-the-Top*).
    """
    embeddings.sub_(embeddings.mean(dim=0, keepdim=True))


def _into_readers(model: Any) -> None:
    """The gains of the norms, save the decoder's last, into the matrices that read what they gave."""
    memory = model.encoder.final_layer_norm.weight
    for stack in (model.encoder, model.decoder):
        for block in stack.block:
            inner = block.layer[0].SelfAttention
            _absorb(block.layer[0].layer_norm.weight, inner.q, inner.k, inner.v)
            if stack is model.decoder:
                cross = block.layer[1].EncDecAttention
                _absorb(block.layer[1].layer_norm.weight, cross.q)
                for matrix in (cross.k, cross.v):
                    matrix.weight.mul_(memory)
            network = block.layer[-1].DenseReluDense
            _absorb(block.layer[-1].layer_norm.weight, network.wi_0, network.wi_1)
    memory.fill_(1)


def _absorb(gain: Tensor, *readers: Any) -> None:
    for reader in readers:
        reader.weight.mul_(gain)
    gain.fill_(1)


def _share(grows: Any, shrinks: Any, factor: Tensor) -> None:
    grows.weight.mul_(factor)
    shrinks.weight.div_(factor)


def rms(weight: Tensor) -> Tensor:
    """Root mean square of a tensor's elements."""
    return weight.square().mean().sqrt()


def attentions(model: Any) -> Iterator[Any]:
    """Every attention of a T5, block by block, the encoder's first."""
    for stack in (model.encoder, model.decoder):
        for block in stack.block:
            yield block.layer[0].SelfAttention
            if stack is model.decoder:
                yield block.layer[1].EncDecAttention


def _networks(model: Any) -> Iterator[Any]:
    for stack in (model.encoder, model.decoder):
        for block in stack.block:
            yield block.layer[-1].DenseReluDense
