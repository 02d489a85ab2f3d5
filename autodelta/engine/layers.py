"""The sublayers of a T5 block over frozen weights, with the slots of deltas where they stand; see ``forward``."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.functional import linear
from transformers.models.t5.modeling_t5 import T5Attention

from autodelta.deltas import attention
from autodelta.deltas.base import Slot, mapped
from autodelta.deltas.difference import DifferenceSlot, projected

Slots = tuple[Slot, ...]


class Linear(NamedTuple):
    """A frozen weight (out, in) and the slots at it."""

    weight: Tensor
    slots: Slots

    def __call__(self, x: Tensor) -> Tensor:
        if not self.slots:
            return linear(x, self.weight)
        if isinstance(self.slots[0], DifferenceSlot):
            return projected(self.slots, x, self.weight)
        return mapped(self.slots, x, linear(x, self.weight), self.weight)


class Fan(NamedTuple):
    """Projections of one input: one product for all of them, unless a difference takes the place of a weight."""

    parts: tuple[Linear, ...]
    together: Tensor  # their weights, one below the other
    sizes: tuple[int, ...]
    apart: bool

    @classmethod
    def of(cls, parts: Sequence[Linear], together: Tensor) -> "Fan":
        apart = any(part.slots and isinstance(part.slots[0], DifferenceSlot) for part in parts)
        return cls(tuple(parts), together, tuple(part.weight.shape[0] for part in parts), apart)

    def __call__(self, x: Tensor) -> list[Tensor]:
        if self.apart:
            return [part(x) for part in self.parts]
        found = linear(x, self.together).split(self.sizes, dim=-1)
        return [
            mapped(part.slots, x, y, part.weight) if part.slots else y
            for part, y in zip(self.parts, found, strict=True)
        ]


class Norm(NamedTuple):
    """T5's root-mean-square norm and the slots at its scale."""

    weight: Tensor
    epsilon: float
    slots: Slots

    def __call__(self, x: Tensor) -> Tensor:
        wide = x.float()  # also of float64, as transformers does it
        y = x * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.epsilon)
        y = self.weight * y.to(self.weight.dtype)
        return mapped(self.slots, x, y, self.weight) if self.slots else y


class Attention(NamedTuple):
    """One attention sublayer."""

    norm: Norm
    query: Linear
    projections: Fan  # q, k, v of self-attention; k, v of cross-attention
    out: Linear
    keys_values: Slots
    sublayer: Slots
    heads: int

    def __call__(self, x: Tensor, bias: Tensor | None, memory: "KeysValues | None" = None) -> Tensor:
        """x plus the attention's output; ``bias`` (1 or batch, heads or 1, queries, keys): position bias and mask."""
        normed = self.norm(x)
        if memory is None:
            q, k, v = self.projections(normed)
            own = self.changed(self._split(k), self._split(v), bias)
        else:
            q, own = self.query(normed), memory
        scores = torch.matmul(self._split(q), own.keys.transpose(2, 3))
        if own.bias is not None:
            scores = scores + own.bias
        mixed = torch.matmul(functional.softmax(scores, dim=-1), own.values)
        y: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return x + (mapped(self.sublayer, x, y, None) if self.sublayer else y)

    def read(self, memory: Tensor, bias: Tensor | None) -> "KeysValues":
        """Keys and values of a memory (batch, length, d_model), for cross-attention."""
        k, v = self.projections(memory)
        return self.changed(self._split(k), self._split(v), bias)

    def changed(self, keys: Tensor, values: Tensor, bias: Tensor | None) -> "KeysValues":
        """After the slots at keys and values; keys put in front are seen by everybody and have no position bias."""
        if not self.keys_values:
            return KeysValues(keys, values, bias)
        return KeysValues(*attention.apply(self.keys_values, keys, values, bias))

    def _split(self, x: Tensor) -> Tensor:
        """(batch, length, heads * d_kv) to (batch, heads, length, d_kv)."""
        batch, length, _ = x.shape
        return x.view(batch, length, self.heads, -1).transpose(1, 2)


class KeysValues(NamedTuple):
    """What an attention looks at: (batch, heads, length, d_kv) each, and what is added to its scores."""

    keys: Tensor
    values: Tensor
    bias: Tensor | None


class FeedForward(NamedTuple):
    """One feed-forward sublayer."""

    norm: Norm
    enter: Fan  # in, or gate and in
    out: Linear
    sublayer: Slots
    activation: Any

    def __call__(self, x: Tensor) -> Tensor:
        """x plus the network's output."""
        entered = self.enter(self.norm(x))
        hidden = self.activation(entered[0])
        y = self.out(hidden * entered[1] if len(entered) == 2 else hidden)
        return x + (mapped(self.sublayer, x, y, None) if self.sublayer else y)


class Positions(NamedTuple):
    """A relative position bias: a table (buckets, heads) and the slots at it."""

    weight: Tensor
    slots: Slots
    bidirectional: bool
    farthest: int

    def __call__(self, queries: Tensor, keys: Tensor) -> Tensor:
        """(1, heads, queries, keys) for positions (queries,) and (keys,)."""
        ids = _buckets(
            tuple(queries.tolist()), tuple(keys.tolist()), self.bidirectional, self.weight.shape[0], self.farthest
        ).to(self.weight.device)
        values = functional.embedding(ids, self.weight)
        if self.slots:
            values = mapped(self.slots, ids, values, self.weight)
        return values.permute(2, 0, 1).unsqueeze(0)


class Block(NamedTuple):
    """One block: self-attention, in the decoder cross-attention, feed-forward."""

    positions: Positions | None  # None: those of the first block
    self_attn: Attention
    cross_attn: Attention | None
    ffn: FeedForward


@lru_cache(maxsize=512)
def _buckets(
    queries: tuple[int, ...], keys: tuple[int, ...], bidirectional: bool, buckets: int, farthest: int
) -> Tensor:
    """The bucket of every pair of positions (queries, keys)."""
    relative = torch.tensor(keys)[None, :] - torch.tensor(queries)[:, None]
    found: Tensor = T5Attention._relative_position_bucket(
        relative, bidirectional=bidirectional, num_buckets=buckets, max_distance=farthest
    )
    return found
