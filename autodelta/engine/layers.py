"""The sublayers of a T5 block over frozen weights, with the slots of deltas where they stand; see ``forward``.

Each works on the tokens of several candidates at once, flat (tokens, width), and lets every candidate's slots see
their own rows only; of one candidate, all of that is views.
"""

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
from autodelta.engine import devices
from autodelta.engine.layout import Layout, Part, joined
from autodelta.engine.softmax import softmax

Slots = tuple[Slot, ...]
Owned = tuple[Slots, ...]  # the slots of each candidate at one site


def changed(owned: Owned, x: Tensor, y: Tensor, weight: Tensor | None, layout: Layout) -> Tensor:
    """y (tokens, width) after the slots of every candidate, each on its own rows."""
    if not any(owned[owner] for owner in layout.owners):
        return y
    parts = zip(layout.owners, layout.split(x), layout.split(y), strict=True)
    return joined([mapped(owned[owner], one, other, weight) if owned[owner] else other for owner, one, other in parts])


class Linear(NamedTuple):
    """A frozen weight (out, in) and the slots at it."""

    weight: Tensor
    owned: Owned

    def differs(self, owner: int) -> bool:
        """Whether a difference takes the place of the weight."""
        slots = self.owned[owner]
        return bool(slots) and isinstance(slots[0], DifferenceSlot)

    def of(self, owner: int, x: Tensor, y: Tensor | None = None) -> Tensor:
        """One candidate's output for its x (rows, length, in); y: the frozen product, if it is there already."""
        slots = self.owned[owner]
        if self.differs(owner):
            return projected(slots, x, self.weight)
        y = linear(x, self.weight) if y is None else y
        return mapped(slots, x, y, self.weight) if slots else y


class Fan(NamedTuple):
    """Projections of one input: one product for all of them and all candidates, but for those whose differences take
    the place of a weight."""

    parts: tuple[Linear, ...]
    together: Tensor  # their weights, one below the other
    sizes: tuple[int, ...]
    apart: tuple[bool, ...]  # of each candidate

    @classmethod
    def of(cls, parts: Sequence[Linear], together: Tensor) -> "Fan":
        owners = range(len(parts[0].owned))
        apart = tuple(any(part.differs(owner) for part in parts) for owner in owners)
        return cls(tuple(parts), together, tuple(part.weight.shape[0] for part in parts), apart)

    def __call__(self, x: Tensor, layout: Layout) -> list[Tensor]:
        """The projections, each (tokens, out), of x (tokens, in)."""
        own = [owner for owner in layout.owners if self.apart[owner]]
        if own:
            return self._mixed(x, layout, own)
        return [
            changed(part.owned, x, y, part.weight, layout) for part, y in zip(self.parts, self.frozen(x), strict=True)
        ]

    def frozen(self, x: Tensor) -> Sequence[Tensor]:
        """The products with the frozen weights."""
        y = linear(x, self.together)
        return y.split(self.sizes, dim=-1) if len(self.parts) > 1 else (y,)

    def _mixed(self, x: Tensor, layout: Layout, own: Sequence[int]) -> list[Tensor]:
        """Products of their own for some candidates, and a common one for the others."""
        xs = dict(zip(layout.owners, layout.split(x), strict=True))
        found = {owner: [part.of(owner, xs[owner]) for part in self.parts] for owner in own}
        rest = layout.only([owner for owner in layout.owners if owner not in own])
        if rest.parts:
            common = self(joined([xs[owner] for owner in rest.owners]), rest)
            for owner, *ys in zip(rest.owners, *map(rest.split, common), strict=True):
                found[owner] = ys
        return [joined([found[owner][number] for owner in layout.owners]) for number in range(len(self.parts))]


class Norm(NamedTuple):
    """T5's root-mean-square norm and the slots at its scale."""

    weight: Tensor
    epsilon: float
    owned: Owned

    def __call__(self, x: Tensor, layout: Layout) -> Tensor:
        if x.dtype == self.weight.dtype != torch.float64:
            return changed(self.owned, x, _Normed.apply(x, self.weight, self.epsilon), self.weight, layout)  # type: ignore[no-untyped-call]
        wide = x.float()  # also of float64, as transformers does it
        y = x * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.epsilon)
        y = self.weight * y.to(self.weight.dtype)
        return changed(self.owned, x, y, self.weight, layout)


class _Normed(torch.autograd.Function):
    """The norm of x and its gradient under a frozen scale, in float32 as the plain lines of ``Norm`` compute it, but in
    half of their time: few passes over what is large, and most of them in place."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        y = x.to(torch.float32, copy=True)
        mean_square = torch.linalg.vector_norm(y, dim=-1, keepdim=True).square_().div_(y.shape[-1])
        inverse = mean_square.add_(epsilon).rsqrt_()
        normed = y.mul_(inverse).to(x.dtype)
        ctx.save_for_backward(normed, inverse, weight)
        return weight * normed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        normed, inverse, weight = ctx.saved_tensors
        g = (gradients[0] * weight).float()
        y = normed.to(torch.float32, copy=True)
        along = (y * g).mean(-1, keepdim=True)
        return g.sub_(y.mul_(along)).mul_(inverse).to(normed.dtype), None, None


class KeysValues(NamedTuple):
    """What an attention looks at: (batch, heads, length, d_kv) each, and what is added to its scores."""

    keys: Tensor
    values: Tensor
    bias: Tensor | None

    def only(self, rows: Tensor) -> "KeysValues":
        """Those of some rows, by their numbers; a bias of one row is everybody's."""
        bias = self.bias if self.bias is None or len(self.bias) < len(self.keys) else self.bias[rows]
        return KeysValues(self.keys[rows], self.values[rows], bias)


class Seen:
    """Keys and values (batch, heads, length, d_kv) of what one candidate has written so far: before slots put others
    in front, so that these are there once."""

    def __init__(self, keys: Tensor | None = None, values: Tensor | None = None) -> None:
        self._keys, self._values = keys, values

    @property
    def length(self) -> int:
        return 0 if self._keys is None else self._keys.shape[2]

    def with_more(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """All of them, those of further tokens included, which it has seen from now on."""
        if self._keys is not None and self._values is not None:
            keys, values = torch.cat([self._keys, keys], dim=2), torch.cat([self._values, values], dim=2)
        self._keys, self._values = keys, values
        return keys, values

    def only(self, rows: Tensor) -> "Seen":
        """Those of some rows, by their numbers."""
        if self._keys is None or self._values is None:
            return Seen()
        return Seen(self._keys[rows], self._values[rows])


class Source(NamedTuple):
    """Encoder output that candidates read together: flat, or one candidate's after another's with a gradient."""

    flat: Tensor  # (tokens, d_model)
    layout: Layout  # in which an owner is a memory's number
    apart: bool  # its readers have products of their own


# Frozen keys and values of one memory (batch, length, heads * d_kv), block by block of the decoder.
Products = tuple[Sequence[Tensor], ...]


class Read(NamedTuple):
    """The memories of all candidates as cross-attention reads them."""

    sources: tuple[Source, ...]
    number: dict[int, int]  # of each owner's memory; several may read one
    masks: dict[int, Tensor | None]  # of each memory, added to scores
    products: dict[int, Products]  # of each memory of which they are kept


class Attention(NamedTuple):
    """One attention sublayer."""

    norm: Norm
    query: Fan
    projections: Fan  # q, k, v of self-attention; k, v of cross-attention
    out: Fan
    keys_values: Owned
    sublayer: Owned
    heads: int

    def __call__(
        self,
        x: Tensor,
        layout: Layout,
        biases: Sequence[Tensor | None],
        memory: Sequence[KeysValues] | None = None,
        seen: Seen | None = None,
    ) -> Tensor:
        """x (tokens, d_model) plus the attention's output.

        Args:
            x: flat.
            layout: of x.
            biases: position bias and mask of each run, (1 or batch, heads or 1, queries, keys).
            memory: what each run looks at in cross-attention.
            seen: of a self-attention of one candidate alone, what came before x, which is seen, too.
        """
        normed = self.norm(x, layout)
        if memory is None:
            q, *kv = self.projections(normed, layout)
            keys, values = (map(self._split, layout.split_runs(one)) for one in kv)
            each = zip(keys, values, strict=True) if seen is None else [seen.with_more(next(keys), next(values))]
            memory = [
                self._changed(run, k, v, bias) for run, (k, v), bias in zip(layout.runs, each, biases, strict=True)
            ]
        else:
            (q,) = self.query(normed, layout)
        mixed = layout.join_runs([self._mixed(*pair) for pair in zip(layout.split_runs(q), memory, strict=True)])
        (y,) = self.out(mixed, layout)
        return x + changed(self.sublayer, x, y, None, layout)

    def read(self, read: Read, layout: Layout, block: int) -> list[KeysValues]:
        """Keys and values of the memories, for each run of a decoder's layout; the attention stands in that block."""
        entered: dict[int, Tensor] = {}
        products: dict[int, list[Tensor]] = {}
        for source in read.sources:
            numbers = source.layout.owners
            entered.update(zip(numbers, source.layout.split(source.flat), strict=True))
            if all(number in read.products for number in numbers):
                products.update((number, list(read.products[number][block])) for number in numbers)
            elif not source.apart:
                split = map(source.layout.split, self.projections.frozen(source.flat))
                products.update((number, list(kv)) for number, *kv in zip(numbers, *split, strict=True))
        return [self._read(run, read, entered, products) for run in layout.runs]

    def _read(
        self, run: Sequence[Part], read: Read, entered: dict[int, Tensor], products: dict[int, list[Tensor]]
    ) -> KeysValues:
        """Those of one run; where all of it read one memory and change nothing there, that memory's own."""
        readers = [part.owner for part in run]
        numbers = [read.number[owner] for owner in readers]
        sites = [*(part.owned for part in self.projections.parts), self.keys_values]
        if len(set(numbers)) == 1 and not any(site[owner] for site in sites for owner in readers):
            readers, numbers = readers[:1], numbers[:1]
        found = []
        for which, part in enumerate(self.projections.parts):
            each = [
                part.of(owner, entered[number], products[number][which] if number in products else None)
                for owner, number in zip(readers, numbers, strict=True)
            ]
            found.append(self._split(each[0] if len(each) == 1 else torch.cat(each)))
        shown = [(read.masks[number], Part(number, *entered[number].shape[:2])) for number in numbers]
        return self._changed(run, found[0], found[1], stacked_masks(shown, found[0]))

    def _changed(self, run: Sequence[Part], keys: Tensor, values: Tensor, bias: Tensor | None) -> KeysValues:
        """After the slots at keys and values, whose owner attends alone; keys put in front are seen by everybody and
        have no position bias."""
        slots = self.keys_values[run[0].owner]
        if not slots:
            return KeysValues(keys, values, bias)
        return KeysValues(*attention.apply(slots, keys, values, bias))

    def _mixed(self, q: Tensor, seen: KeysValues) -> Tensor:
        """The values that queries (rows, queries, width) get; rows may be a multiple of the keys', which they then
        share: all queries of one row of keys are one product."""
        rows, queries, width = q.shape
        kept, d_kv = len(seen.keys), width // self.heads
        times = rows // kept
        if times == 1:
            found = attended(self._split(q), *seen)
            return found.transpose(1, 2).flatten(2)
        folded = (
            q.view(times, kept, queries, self.heads, d_kv).permute(1, 3, 0, 2, 4).reshape(kept, self.heads, -1, d_kv)
        )
        found = attended(folded, *seen).view(kept, self.heads, times, queries, d_kv)
        return found.permute(2, 0, 3, 1, 4).reshape(rows, queries, width)

    def _split(self, x: Tensor) -> Tensor:
        """(batch, length, heads * d_kv) to (batch, heads, length, d_kv)."""
        batch, length, _ = x.shape
        return x.view(batch, length, self.heads, -1).transpose(1, 2)


def attended(q: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None) -> Tensor:
    """The values (batch, heads, queries, d_kv) that queries get, as T5 does it: unscaled, the bias on the scores."""
    return torch.matmul(softmax(_scores(q, keys, bias)), values)


def _scores(q: Tensor, keys: Tensor, bias: Tensor | None) -> Tensor:
    """(batch, heads, queries, keys): the products, and the bias added where they are made, not in a pass of its own."""
    (batch, heads, queries, d_kv), length = q.shape, keys.shape[2]
    if bias is None:
        return torch.matmul(q, keys.transpose(2, 3))
    added = bias.expand(batch, heads, queries, length).reshape(-1, queries, length)
    found = torch.baddbmm(added, q.reshape(-1, queries, d_kv), keys.reshape(-1, length, d_kv).transpose(1, 2))
    return found.view(batch, heads, queries, length)


def stacked_masks(masks: Sequence[tuple[Tensor | None, Part]], like: Tensor) -> Tensor | None:
    """One mask (rows, 1, 1, keys) for parts of equal length; None where nothing is padded."""
    if all(mask is None for mask, _ in masks):
        return None
    filled = [like.new_zeros(part.rows, 1, 1, part.length) if mask is None else mask for mask, part in masks]
    return filled[0] if len(filled) == 1 else torch.cat(filled)


class FeedForward(NamedTuple):
    """One feed-forward sublayer."""

    norm: Norm
    enter: Fan  # in, or gate and in
    out: Fan
    sublayer: Owned
    activation: Any

    def __call__(self, x: Tensor, layout: Layout) -> Tensor:
        """x (tokens, d_model) plus the network's output."""
        entered = self.enter(self.norm(x, layout), layout)
        hidden = self.activation(entered[0])
        (y,) = self.out(hidden * entered[1] if len(entered) == 2 else hidden, layout)
        return x + changed(self.sublayer, x, y, None, layout)


class Positions(NamedTuple):
    """A relative position bias: a table (buckets, heads) and the slots at it."""

    weight: Tensor
    owned: Owned
    bidirectional: bool
    farthest: int

    def __call__(self, owner: int, queries: Tensor, keys: Tensor) -> Tensor:
        """(1, heads, queries, keys) for positions (queries,) and (keys,), as one candidate has it."""
        where = tuple(queries.tolist()), tuple(keys.tolist())
        ids = _buckets(*where, self.bidirectional, self.weight.shape[0], self.farthest, self.weight.device)
        values = functional.embedding(ids, self.weight)
        if self.owned[owner]:
            values = mapped(self.owned[owner], ids, values, self.weight)
        return values.permute(2, 0, 1).unsqueeze(0)


class Block(NamedTuple):
    """One block: self-attention, in the decoder cross-attention, feed-forward."""

    positions: Positions | None  # None: those of the first block
    self_attn: Attention
    cross_attn: Attention | None
    ffn: FeedForward


@lru_cache(maxsize=512)
def _buckets(
    queries: tuple[int, ...],
    keys: tuple[int, ...],
    bidirectional: bool,
    buckets: int,
    farthest: int,
    device: torch.device,
) -> Tensor:
    """The bucket of every pair of positions (queries, keys)."""
    relative = torch.tensor(keys)[None, :] - torch.tensor(queries)[:, None]
    found: Tensor = T5Attention._relative_position_bucket(
        relative, bidirectional=bidirectional, num_buckets=buckets, max_distance=farthest
    )
    return devices.onto(found, device)
