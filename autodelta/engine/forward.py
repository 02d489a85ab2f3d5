"""A lean forward pass of T5 over a Hugging Face model's weights, in which every place for a delta is a visible line.

The arithmetic is that of transformers' eager T5 (Raffel et al. 2020, arXiv 1910.10683; gated: Shazeer 2020, arXiv
2002.05202), and the slots are the same objects that the hooks of ``autodelta.deltas`` put on a model. What is left out
costs time and nothing else: no cache for generation, no dropout, projections of one input in one product where no delta
stands, the position bias and the mask added up once a stack, logits only where a target is.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional

from autodelta.backbones import roles
from autodelta.deltas.base import mapped
from autodelta.deltas.compose import Composition
from autodelta.engine.layers import Attention, Block, Fan, FeedForward, Linear, Norm, Positions, Slots
from autodelta.shape import ATTENTIONS, BackboneShape, Site, Stack

# Weights of projections of one input, one below the other, once a model.
_stacked: WeakKeyDictionary[nn.Module, dict[tuple[Site, ...], Tensor]] = WeakKeyDictionary()


class Memory(NamedTuple):
    """What the encoder gives: hidden states (batch, length, d_model) and the mask (batch, length), None if none is
    padded; a prompt's positions stand in front of both."""

    hidden: Tensor
    mask: Tensor | None


class Forward:
    """The forward pass of a model with a composition's deltas in place; None: the bare backbone.

    The model itself is neither changed nor called: its weights are read.
    """

    def __init__(self, hf_model: Any, composition: Composition | None = None) -> None:
        self._together = _stacked.setdefault(hf_model, {})
        self._slots = composition.slots if composition is not None else {}
        self._modules = roles.modules(hf_model)
        self._config = hf_model.config
        self.shape = BackboneShape.of(hf_model)
        self.scale = _logit_scale(hf_model)
        self.start = int(hf_model.config.decoder_start_token_id)
        self.device = hf_model.device
        self.encoder = self._blocks("encoder")
        self.decoder = self._blocks("decoder")
        self._final = {stack: self._norm(Site(stack, None, "final_norm")) for stack in ("encoder", "decoder")}
        self._head = self._linear(Site("decoder", None, "lm_head"))
        self.first_delta = self._first_delta()

    @property
    def stacked(self) -> tuple[Tensor, ...]:
        """Weights that are held twice: those of projections of one input lie one below the other, too."""
        return tuple(self._together.values())

    # --- what trains and scores use ----------------------------------------------------------------------------

    def encode(self, ids: Tensor, mask: Tensor | None) -> Memory:
        """The memory of input ids (batch, length); mask (batch, length): 1 where there is a token, or None."""
        return self.finish(self.begin(ids, mask), 0)

    def begin(self, ids: Tensor, mask: Tensor | None) -> Memory:
        """What enters the first encoder block."""
        return Memory(*self._embedded("encoder", ids, mask))

    def finish(self, entered: Memory, block: int, *, until: int | None = None) -> Memory:
        """From what enters an encoder block to the memory, or to what enters block ``until``."""
        hidden, mask = entered
        positions = torch.arange(hidden.shape[1])
        masked = _masked(mask, hidden.dtype)
        last = len(self.encoder) if until is None else until
        bias = None
        for number, layer in enumerate(self.encoder[:last]):
            if layer.positions is not None and (number >= block or number == 0):
                bias = _sum(layer.positions(positions, positions).to(hidden.dtype), masked)
            if number >= block:
                hidden = layer.ffn(layer.self_attn(hidden, bias))
        return Memory(hidden if until is not None else self._final["encoder"](hidden), mask)

    def decode(
        self, ids: Tensor, memory: Memory, *, positions: Tensor | None = None, seen: Tensor | None = None
    ) -> Tensor:
        """Hidden states (batch, queries, d_model) of decoder input ids, final norm included, a prompt's left out.

        Args:
            ids: (batch, queries).
            memory: of the encoder.
            positions: (queries,), one after the other without it.
            seen: (queries, queries), whether a query (row) sees another (column); those before it without it.
        """
        hidden, _ = self._embedded("decoder", ids, None)
        added = hidden.shape[1] - ids.shape[1]
        where, mask = _tree(ids.shape[1], added, positions, seen, hidden)
        masked = _masked(memory.mask, hidden.dtype)
        bias = None
        for layer in self.decoder:
            if layer.positions is not None:
                bias = layer.positions(where, where).to(hidden.dtype) + mask
            hidden = layer.self_attn(hidden, bias)
            assert layer.cross_attn is not None
            hidden = layer.cross_attn(hidden, None, layer.cross_attn.read(memory.hidden, masked))
            hidden = layer.ffn(hidden)
        return self._final["decoder"](hidden)[:, added:]

    def loss(self, memory: Memory, targets: Tensor) -> Tensor:
        """Mean cross-entropy, nats a target token, of targets (batch, length) with -100 where padded."""
        shifted = targets.new_full(targets.shape, self.start)
        shifted[:, 1:] = targets[:, :-1].masked_fill(targets[:, :-1].eq(-100), self._config.pad_token_id)
        there = targets.ne(-100)
        logits = self.logits(self.decode(shifted, memory)[there])
        return functional.cross_entropy(logits.to(torch.promote_types(logits.dtype, torch.float32)), targets[there])

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., vocabulary) of decoder hidden states."""
        return self._head(hidden * self.scale if self.scale != 1.0 else hidden)

    # --- how it is put together --------------------------------------------------------------------------------

    def _embedded(self, stack: Stack, ids: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Token embeddings after the slots at the table, prompts in front."""
        table = self._weight(Site(stack, None, "tokens"))
        hidden = functional.embedding(ids, table)
        tokens = self._at(Site(stack, None, "tokens"))
        if tokens:
            hidden = mapped(tokens, ids, hidden, table)
        dtype = hidden.dtype
        for slot in self._at(Site(stack, None, "embeddings")):
            hidden, mask = slot(hidden, mask)
        return hidden.to(dtype), mask

    def _blocks(self, stack: Stack) -> list[Block]:
        found = []
        for number in range(self.shape.blocks(stack)):
            attentions = [self._attention(stack, number, part) for part in ATTENTIONS[stack]]
            cross = attentions[1] if len(attentions) == 2 else None
            found.append(Block(self._positions(stack, number), attentions[0], cross, self._feed_forward(stack, number)))
        return found

    def _attention(self, stack: Stack, block: int, part: str) -> Attention:
        projections = {name: self._linear(Site(stack, block, f"{part}.{name}")) for name in "qkvo"}
        fan = "kv" if part == "cross_attn" else "qkv"
        return Attention(
            norm=self._norm(Site(stack, block, f"{part}.norm")),
            query=projections["q"],
            projections=self._fan([Site(stack, block, f"{part}.{name}") for name in fan]),
            out=projections["o"],
            keys_values=self._at(Site(stack, block, f"{part}.keys_values")),
            sublayer=self._at(Site(stack, block, part)),
            heads=self.shape.num_heads,
        )

    def _feed_forward(self, stack: Stack, block: int) -> FeedForward:
        parts = ("gate", "in") if self.shape.gated else ("in",)
        return FeedForward(
            norm=self._norm(Site(stack, block, "ffn.norm")),
            enter=self._fan([Site(stack, block, f"ffn.{part}") for part in parts]),
            out=self._linear(Site(stack, block, "ffn.out")),
            sublayer=self._at(Site(stack, block, "ffn")),
            activation=_activation(roles.inner(self._modules[Site(stack, block, "ffn")])),
        )

    def _positions(self, stack: Stack, block: int) -> Positions | None:
        site = Site(stack, block if self.shape.positions_in_blocks else None, "positions")
        if block and not self.shape.positions_in_blocks:
            return None
        farthest = self._config.relative_attention_max_distance
        return Positions(self._weight(site), self._at(site), stack == "encoder", farthest)

    def _linear(self, site: Site) -> Linear:
        return Linear(self._weight(site), self._at(site))

    def _fan(self, sites: Sequence[Site]) -> Fan:
        parts = [self._linear(site) for site in sites]
        key = tuple(sites)
        if key not in self._together:
            self._together[key] = torch.cat([part.weight for part in parts])
        return Fan.of(parts, self._together[key])

    def _norm(self, site: Site) -> Norm:
        return Norm(self._weight(site), self._config.layer_norm_epsilon, self._at(site))

    def _weight(self, site: Site) -> Tensor:
        weight = self._modules[site].weight
        assert isinstance(weight, Tensor)
        return weight.detach()

    def _at(self, site: Site) -> Slots:
        return self._slots.get(site, ())

    def _first_delta(self) -> int:
        """The first encoder block that a delta changes, the norm after the last one counted as one more; above them
        all, if none is changed."""
        last = len(self.encoder)
        outer = {"final_norm": last}
        numbers = [
            outer.get(site.part, 0) if site.block is None else site.block
            for site in self._slots
            if site.stack == "encoder"
        ]
        return min(numbers, default=last + 1)


def _masked(mask: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """What is added to scores (batch, 1, 1, keys): the least number where there is no token."""
    if mask is None:
        return None
    return (1 - mask[:, None, None, :].to(dtype)) * torch.finfo(dtype).min


def _sum(bias: Tensor, masked: Tensor | None) -> Tensor:
    return bias if masked is None else bias + masked


def _tree(
    queries: int, added: int, positions: Tensor | None, seen: Tensor | None, like: Tensor
) -> tuple[Tensor, Tensor]:
    """Positions and mask of a decoder's queries with ``added`` ones in front, which all of them see."""
    own = torch.arange(queries) if positions is None else positions.cpu()
    where = torch.cat([torch.arange(added), own + added])
    visible = torch.ones(added + queries, added + queries, dtype=torch.bool).tril()
    if seen is not None:
        visible[added:, added:] = seen.cpu()
    mask = torch.zeros(visible.shape, dtype=like.dtype).masked_fill(~visible, torch.finfo(like.dtype).min)
    return where, mask.to(like.device)[None, None]


def _activation(network: nn.Module) -> Any:
    """The network's activation; tanh-approximated GELU by torch's own kernel, which is the same function."""
    own = network.act
    if type(own).__name__ in ("NewGELUActivation", "GELUTanh"):
        return lambda x: functional.gelu(x, approximate="tanh")
    return own


def _logit_scale(hf_model: Any) -> float:
    """What decoder outputs are multiplied by before the output layer."""
    config = hf_model.config
    scaled = getattr(config, "scale_decoder_outputs", None)
    if scaled is None:
        scaled = config.tie_word_embeddings
    return float(config.d_model**-0.5) if scaled else 1.0
