"""Puts the sublayers of a model's forward pass together, with every candidate's slots at their places.

Projections of one input are one product, for which their weights must lie one below the other. So they are moved there,
once a model: its own parameters become views of what lies together, of the same values, and nothing is held twice.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional

from autodelta.backbones import roles
from autodelta.engine.layers import Attention, Block, Fan, FeedForward, Linear, Norm, Owned, Positions, Slots
from autodelta.errors import UserError
from autodelta.shape import ATTENTIONS, STACKS, BackboneShape, Site, Stack

_together: WeakKeyDictionary[nn.Module, dict[tuple[Site, ...], Tensor]] = WeakKeyDictionary()  # once a model


class Assembled(NamedTuple):
    """The frozen weights of a model and all slots, as sublayers."""

    blocks: dict[Stack, list[Block]]
    final: dict[Stack, Norm]
    head: Fan
    tables: dict[Stack, Linear]  # token embeddings, looked up
    embeddings: dict[Stack, Owned]  # slots at a stack's input


def assemble(hf_model: Any, slots: Sequence[Mapping[Site, Slots]]) -> Assembled:
    """The sublayers over a Hugging Face T5's weights, with the slots of each candidate.

    Raises:
        UserError: a layer has a bias, which merging gave it; T5's have none.
    """
    builder = _Builder(hf_model, slots)
    return Assembled(
        blocks={stack: builder.blocks(stack) for stack in STACKS},
        final={stack: builder.norm(Site(stack, None, "final_norm")) for stack in STACKS},
        head=builder.fan([Site("decoder", None, "lm_head")]),
        tables={stack: builder.linear(Site(stack, None, "tokens")) for stack in STACKS},
        embeddings={stack: builder.at(Site(stack, None, "embeddings")) for stack in STACKS},
    )


class _Builder:
    """What all sublayers are made from."""

    def __init__(self, hf_model: Any, slots: Sequence[Mapping[Site, Slots]]) -> None:
        self._together = _together.setdefault(hf_model, {})
        self._slots = slots
        self._modules = roles.modules(hf_model)
        self._config = hf_model.config
        self._shape = BackboneShape.of(hf_model)

    def blocks(self, stack: Stack) -> list[Block]:
        found = []
        for number in range(self._shape.blocks(stack)):
            attentions = [self._attention(stack, number, part) for part in ATTENTIONS[stack]]
            cross = attentions[1] if len(attentions) == 2 else None
            found.append(Block(self._positions(stack, number), attentions[0], cross, self._feed_forward(stack, number)))
        return found

    def _attention(self, stack: Stack, block: int, part: str) -> Attention:
        fan = "kv" if part == "cross_attn" else "qkv"
        projections = self.fan([Site(stack, block, f"{part}.{name}") for name in fan])  # first: it moves weights
        return Attention(
            norm=self.norm(Site(stack, block, f"{part}.norm")),
            query=self.fan([Site(stack, block, f"{part}.q")]),
            projections=projections,
            out=self.fan([Site(stack, block, f"{part}.o")]),
            keys_values=self.at(Site(stack, block, f"{part}.keys_values")),
            sublayer=self.at(Site(stack, block, part)),
            heads=self._shape.num_heads,
        )

    def _feed_forward(self, stack: Stack, block: int) -> FeedForward:
        parts = ("gate", "in") if self._shape.gated else ("in",)
        return FeedForward(
            norm=self.norm(Site(stack, block, "ffn.norm")),
            enter=self.fan([Site(stack, block, f"ffn.{part}") for part in parts]),
            out=self.fan([Site(stack, block, "ffn.out")]),
            sublayer=self.at(Site(stack, block, "ffn")),
            activation=_activation(roles.inner(self._modules[Site(stack, block, "ffn")])),
        )

    def _positions(self, stack: Stack, block: int) -> Positions | None:
        site = Site(stack, block if self._shape.positions_in_blocks else None, "positions")
        if block and not self._shape.positions_in_blocks:
            return None
        farthest = self._config.relative_attention_max_distance
        return Positions(self._weight(site), self.at(site), stack == "encoder", farthest)

    def linear(self, site: Site) -> Linear:
        return Linear(self._weight(site), self.at(site))

    def fan(self, sites: Sequence[Site]) -> Fan:
        together = self._moved(tuple(sites)) if len(sites) > 1 else self._weight(sites[0])
        return Fan.of([self.linear(site) for site in sites], together)

    def _moved(self, sites: tuple[Site, ...]) -> Tensor:
        """The weights of these sites, one below the other, of which the model's own are views from now on; moved again
        where the model has got others since, of another device or dtype, say."""
        weights = [self._weight(site) for site in sites]
        sizes = [len(weight) for weight in weights]
        known = self._together.get(sites)
        if known is None or any(
            not weight.is_set_to(piece) for weight, piece in zip(weights, known.split(sizes), strict=True)
        ):
            known = self._together[sites] = torch.cat(weights)
            for site, piece in zip(sites, known.split(sizes), strict=True):
                self._modules[site].weight.data = piece
        return known

    def norm(self, site: Site) -> Norm:
        return Norm(self._weight(site), self._config.layer_norm_epsilon, self.at(site))

    def _weight(self, site: Site) -> Tensor:
        module = self._modules[site]
        if getattr(module, "bias", None) is not None:
            raise UserError(
                f"the engine computes with weights alone, and {site} has a bias of merged deltas; merge into the plain "
                "model with biases=False, and attach what that leaves"
            )
        weight = module.weight
        assert isinstance(weight, Tensor)
        return weight.detach()

    def at(self, site: Site) -> Owned:
        return tuple(slots.get(site, ()) for slots in self._slots)


def _activation(network: nn.Module) -> Any:
    """The network's activation; tanh-approximated GELU by torch's own kernel, which is the same function."""
    own = network.act
    if type(own).__name__ in ("NewGELUActivation", "GELUTanh"):
        return lambda x: functional.gelu(x, approximate="tanh")
    return own
