"""Adapters' modules: Houlsby et al. 2019, arXiv:1902.00751, section 2.1; He et al. 2022, arXiv:2110.04366, table 1.

Departure: the up-projection starts at zero, not near it, so that a fresh adapter changes nothing at all.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import linear

from autodelta.deltas.adapter.spec import AdapterConfig
from autodelta.deltas.base import DeltaModule, Draw, Place, Slot, activation, kaiming_uniform, zeros
from autodelta.shape import BackboneShape


class AdapterSlot(Slot):
    """y + s (W_up act(W_down h + b_down) + b_up), h = y (serial) or x (parallel), both ``(batch, length, d_model)``."""

    def __init__(self, config: AdapterConfig, d_model: int, generator: torch.Generator) -> None:
        super().__init__()
        self.down = kaiming_uniform((config.bottleneck, d_model), generator)
        self.down_bias = zeros(config.bottleneck)
        self.up = zeros(d_model, config.bottleneck)
        self.up_bias = zeros(d_model)
        self.activation = activation(config.activation)
        self.parallel = config.placement == "parallel"
        self.scale = config.scale

    def forward(self, x: Tensor, y: Tensor, weight: None) -> Tensor:
        source = x if self.parallel else y
        dtype = source.dtype
        hidden = self.activation(linear(source, self.down.to(dtype), self.down_bias.to(dtype)))
        change = linear(hidden, self.up.to(dtype), self.up_bias.to(dtype))
        return y + (change if self.scale == 1 else change * self.scale)


def build(config: AdapterConfig, places: Sequence[Place], shape: BackboneShape, draw: Draw) -> DeltaModule:
    """The modules of one set of adapters."""
    return DeltaModule({place.site: AdapterSlot(config, shape.d_model, draw.generator(place.site)) for place in places})
