"""(IA)³'s modules: Liu et al. 2022, arXiv:2205.05638, section 3.3.

Departure at ffn.out, where a hook sees the input too late to rescale it: W (l * x) = W x + W ((l - 1) * x). What other
deltas add there is left as it is.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from autodelta.deltas.base import Affine, DeltaModule, Draw, Place, Slot, frozen_weight
from autodelta.deltas.ia3.spec import Ia3Config, rescaled_axis
from autodelta.shape import BackboneShape, Site


class Ia3Output(Slot):
    """l * y; l ``(out,)``."""

    spared = ("scale",)

    def __init__(self, size: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(size))

    def forward(self, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        return y * self.scale

    def folded(self, now: Affine, frozen: Tensor) -> Affine:
        return Affine(self.scale[:, None] * now.weight, None if now.bias is None else self.scale * now.bias)


class Ia3Input(Ia3Output):
    """y + W ((l - 1) * x); l ``(in,)``."""

    reads_weight = True

    def forward(self, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        return y + linear((x * (self.scale - 1)).to(weight.dtype), weight)

    def folded(self, now: Affine, frozen: Tensor) -> Affine:
        return Affine(now.weight + frozen * (self.scale - 1), now.bias)


def build(config: Ia3Config, places: Sequence[Place], shape: BackboneShape, draw: Draw) -> DeltaModule:
    """The modules of one (IA)³."""
    slots: dict[Site, Slot] = {}
    for place in places:
        axis = rescaled_axis(place.site)
        slots[place.site] = (Ia3Input if axis else Ia3Output)(frozen_weight(place).shape[axis])
    return DeltaModule(slots)
