"""Prefix tuning's modules: Li & Liang 2021, arXiv:2101.00190, sections 4.2 and 4.3.

Departure for a T5, whose attention adds a position bias: a prefix stands nowhere, its keys carry no bias, and the
tokens keep theirs. (peft lets the prefix take the positions before the first token.)
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from autodelta.deltas.base import DeltaModule, Draw, Place, Slot, extend_mask, kaiming_uniform, normal, zeros
from autodelta.deltas.prefix.spec import PrefixConfig
from autodelta.shape import BackboneShape

START = 0.02  # standard deviation of a fresh prefix


class PrefixSlot(Slot):
    """([P_K; K], [P_V; V]); K and V ``(batch, heads, length, d_kv)``, the prefix ``(prefix length, 2 heads d_kv)``."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads

    def forward(self, keys: Tensor, values: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        prefix = self.prefix()
        split = prefix.to(keys.dtype).view(prefix.shape[0], 2, self.heads, -1).permute(1, 2, 0, 3)
        own = split.unsqueeze(1).expand(-1, keys.shape[0], -1, -1, -1)
        return (
            torch.cat((own[0], keys), dim=2),
            torch.cat((own[1], values), dim=2),
            extend_mask(mask, prefix.shape[0]),
        )

    def prefix(self) -> Tensor:
        """P_K and P_V side by side."""
        raise NotImplementedError


class PlainPrefix(PrefixSlot):
    """A prefix that is a parameter."""

    def __init__(self, config: PrefixConfig, shape: BackboneShape, generator: torch.Generator) -> None:
        super().__init__(shape.num_heads)
        self.keys_values = normal((config.length, 2 * shape.num_heads * shape.d_kv), START, generator)

    def prefix(self) -> Tensor:
        return self.keys_values


class Network(nn.Module):
    """tanh(W E + b), ``(length, hidden)``: what the prefixes of all sites are made of."""

    def __init__(self, length: int, hidden: int, d_model: int, generator: torch.Generator) -> None:
        super().__init__()
        self.embeddings = normal((length, d_model), 1.0, generator)
        self.weight = kaiming_uniform((hidden, d_model), generator)
        self.bias = zeros(hidden)

    def forward(self) -> Tensor:
        return torch.tanh(linear(self.embeddings, self.weight, self.bias))


class NetworkPrefix(PrefixSlot):
    """A prefix W_site tanh(W E + b) + b_site."""

    def __init__(self, shape: BackboneShape, network: Network, generator: torch.Generator) -> None:
        super().__init__(shape.num_heads)
        hidden = network.bias.shape[0]
        self.weight = normal((2 * shape.num_heads * shape.d_kv, hidden), START * hidden**-0.5, generator)
        self.bias = zeros(2 * shape.num_heads * shape.d_kv)
        self._network = (network,)  # in a tuple: registered with the delta, not with every slot

    def prefix(self) -> Tensor:
        (network,) = self._network
        return linear(network(), self.weight, self.bias)


def build(config: PrefixConfig, places: Sequence[Place], shape: BackboneShape, draw: Draw) -> DeltaModule:
    """The modules of one prefix."""
    if config.hidden is None:
        return DeltaModule({p.site: PlainPrefix(config, shape, draw.generator(p.site)) for p in places})
    network = Network(config.length, config.hidden, shape.d_model, draw.generator("shared"))
    return DeltaModule({p.site: NetworkPrefix(shape, network, draw.generator(p.site)) for p in places}, network)
