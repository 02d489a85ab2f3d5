"""The weights that pretraining starts from: word company, a sense of place, and finding what is like oneself.

Much of what a small T5 learns from its first tens of millions of tokens is known beforehand, so it is set, not learned:

- Embeddings: the leading singular vectors of positive pointwise mutual information, counted in the text (Levy and
  Goldberg 2014, *Neural Word Embedding as Implicit Matrix Factorization*; power 0.5 and smoothing 0.75 after Levy,
  Goldberg and Dagan 2015), each row at T5's standard deviation of 1; and as a last component how often the text holds
  the piece (log, standardised), which an output layer without biases has to read somewhere.
- Self-attention: heads with different views of distance (everything, near, nearer, left, right, wide) in the relative
  position biases, which T5 draws close to zero. The encoder's heads that see everything look for a piece's likes:
  queries and keys begin alike, and a piece does not see itself. So two texts in one input can be compared.
- All attention: value and output projections that begin as a rotation and half of its inverse, so that what is
  attended to arrives in the space of the embeddings (after Trockman and Kolter 2023, arXiv 2305.09828).
- Cross-attention: queries and keys that begin alike, at T5's scales, so that a sentinel in the decoder finds itself in
  the encoder.

Everything is trained afterwards as usual. Measured in ``docs/decisions/0006-pretraining-nano.md``.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.extmath import randomized_svd
from torch import Tensor

from autodelta.backbones.pretrain.plan import Start
from autodelta.backbones.pretrain.scale import attentions

SMOOTHING, POWER = 0.75, 0.5
STEEPEST = -8.0  # a position bias below which nothing is attended to
LIKENESS = 8.0  # nats that a piece's double somewhere else gets in a head that looks for likes
VIEWS = 6
JITTER = 0.03  # standard deviation of what is added to the rotations, so that no weight is exactly tied

Floats = NDArray[np.float32]


def word_company(tokens: NDArray[np.uint16], pieces: int, width: int, start: Start) -> Floats:
    """Embeddings of the pieces by the company they keep: shape (pieces, width), rows of root mean square 1,
    save the last component, which is the log of the piece's frequency, standardised.

    Rows of pieces that the text shows fewer than ``start.least_seen`` times are NaN: they have no company to speak of.
    """
    ids = tokens.astype(np.int64)
    flat = np.zeros(pieces * pieces, np.float32)
    for apart in range(1, start.window + 1):
        weight = (start.window + 1 - apart) / start.window
        flat += weight * np.bincount(ids[:-apart] * pieces + ids[apart:], minlength=pieces * pieces)
    counts = flat.reshape(pieces, pieces)
    counts = counts + counts.T
    seen = counts.sum(axis=1)
    expected = seen**SMOOTHING
    with np.errstate(divide="ignore", invalid="ignore"):
        information = np.log(counts / (seen[:, None] * (expected / expected.sum())[None, :]))
    positive = np.where(counts > 0, np.maximum(information, 0), 0).astype(np.float32)
    left, values, _ = randomized_svd(positive, width - 1, n_iter=3, random_state=0)
    vectors = left * values**POWER
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    sightings = np.bincount(ids, minlength=pieces)
    rare = (sightings < start.least_seen) | (length[:, 0] == 0)
    frequency = np.log(np.maximum(sightings, 1))
    frequency = (frequency - frequency[~rare].mean()) / frequency[~rare].std()
    vectors = np.column_stack([vectors / np.maximum(length, 1e-9) * np.sqrt(width - 1), frequency])
    found: Floats = np.where(rare[:, None], np.nan, vectors).astype(np.float32)
    return found


@torch.no_grad()
def begin(model: Any, embeddings: Tensor, seed: int) -> None:
    """Sets a fresh T5's weights; ``embeddings`` as ``word_company`` gives them, rows of NaN keep their random draw."""
    draw = torch.Generator().manual_seed(seed)
    shared = model.shared.weight
    embeddings = embeddings.to(shared)  # which may lie on a GPU
    shared[: len(embeddings)] = torch.where(embeddings.isnan(), shared[: len(embeddings)], embeddings)
    for stack in (model.encoder, model.decoder):
        first = stack.block[0].layer[0].SelfAttention
        first.relative_attention_bias.weight.copy_(_views(first, bidirectional=stack is model.encoder))
    for attention in attentions(model):
        rotation = _rotation(attention.v.weight, draw)
        attention.v.weight.copy_(rotation)
        noise = JITTER * torch.randn(attention.o.weight.shape, generator=draw)
        attention.o.weight.copy_(0.5 * rotation.T + noise)
    for block in model.encoder.block:
        _look_for_likes(block.layer[0].SelfAttention, draw)
    for block in model.decoder.block:
        cross = block.layer[1].EncDecAttention
        scale = cross.key_value_proj_dim**-0.5  # T5 folds it into the queries
        rotation = _rotation(cross.k.weight, draw)
        noise = scale * JITTER * torch.randn(rotation.shape, generator=draw)
        cross.k.weight.copy_(rotation)
        cross.q.weight.copy_(scale * rotation + noise)


def _look_for_likes(attention: Any, draw: torch.Generator) -> None:
    """Has the heads that see everything compare pieces: their queries and keys are one projection."""
    d_kv = attention.key_value_proj_dim
    for head in range(0, attention.n_heads, VIEWS):
        rows = slice(head * d_kv, (head + 1) * d_kv)
        rotation = _rotation(attention.k.weight[rows], draw)
        attention.k.weight[rows] = rotation
        attention.q.weight[rows] = LIKENESS / d_kv * rotation  # a normed state has a square length of d_kv in there


def _rotation(like: Tensor, draw: torch.Generator) -> Tensor:
    """A random matrix of that shape whose shorter side is orthonormal."""
    rows, columns = like.shape
    tall = torch.randn(max(rows, columns), min(rows, columns), generator=draw)
    q: Tensor = torch.linalg.qr(tall)[0]
    return q if rows >= columns else q.T


def _views(attention: Any, *, bidirectional: bool) -> Tensor:
    """Position biases, shape (buckets, heads); the six views take turns over the heads.

    Distances are those of the key from the query, in tokens, at the middle of each bucket; a decoder sees no right, and
    an encoder's view of everything leaves the piece itself out.
    """
    buckets, heads = attention.relative_attention_bias.weight.shape
    farthest = attention.relative_attention_max_distance
    apart = torch.arange(1 - farthest, farthest if bidirectional else 1)
    bucket = attention._relative_position_bucket(
        apart, bidirectional=bidirectional, num_buckets=buckets, max_distance=farthest
    )
    shares = torch.nn.functional.one_hot(bucket, buckets).float()
    middle = apart.float() @ shares / shares.sum(0).clamp(min=1)
    away = middle.abs()
    second = (middle - 1).abs() if bidirectional else (middle + 2).abs()
    everything = STEEPEST * (away == 0) if bidirectional else 0 * away
    views = [everything, -0.1 * away, -0.5 * away, -2 * (middle + 1).abs(), -2 * second, -0.25 * away]
    return torch.stack([views[head % VIEWS] for head in range(heads)], dim=1).clamp(min=STEEPEST)
