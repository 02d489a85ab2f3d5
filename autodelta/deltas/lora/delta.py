"""LoRA's modules: Hu et al. 2021, arXiv:2106.09685, equation 3; initialised as peft's (A uniform, B zero)."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import linear

from autodelta.deltas.base import DeltaModule, Draw, Place, Slot, frozen_weight, kaiming_uniform, zeros
from autodelta.deltas.lora.spec import LoraConfig
from autodelta.shape import BackboneShape


class LoraSlot(Slot):
    """y + (alpha / r) B A x; A ``(r, in)``, B ``(out, r)``."""

    def __init__(self, config: LoraConfig, place: Place, generator: torch.Generator) -> None:
        super().__init__()
        out_features, in_features = frozen_weight(place).shape
        self.a = kaiming_uniform((config.rank, in_features), generator)
        self.b = zeros(out_features, config.rank)
        self.scaling = config.alpha / config.rank

    def forward(self, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        # The scale goes on the narrow side.
        return y + linear(linear(x, self.a.to(x.dtype)) * self.scaling, self.b.to(x.dtype))

    def folded(self, weight: Tensor) -> Tensor:
        return weight.float() + self.scaling * self.b @ self.a


def build(config: LoraConfig, places: Sequence[Place], shape: BackboneShape, draw: Draw) -> DeltaModule:
    """The modules of one LoRA."""
    return DeltaModule({place.site: LoraSlot(config, place, draw.generator(place.site)) for place in places})
