"""LoRA's modules: Hu et al. 2021, arXiv:2106.09685, equation 3; DoRA: Liu et al. 2024, arXiv:2402.09353, equation 5.

Initialised as in peft (A uniform within 1 / sqrt(in), B zero). As the DoRA paper advises (section 4.3) and peft does,
no gradient flows through the norm.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from autodelta.deltas.base import (
    Affine,
    DeltaModule,
    Draw,
    Place,
    Slot,
    frozen_weight,
    kaiming_uniform,
    narrowed,
    zeros,
)
from autodelta.deltas.lora.spec import LoraConfig
from autodelta.shape import BackboneShape


class LoraSlot(Slot):
    """y + s B A x; A ``(r, in)``, B ``(out, r)``."""

    def __init__(self, config: LoraConfig, place: Place, generator: torch.Generator) -> None:
        super().__init__()
        out_features, in_features = frozen_weight(place).shape
        self.a = kaiming_uniform((config.rank, in_features), generator)
        self.b = zeros(out_features, config.rank)
        self.scaling = config.scaling

    def forward(self, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        a, b = self.a, self.b
        (rank, into), (out, _) = a.shape, b.shape
        x = narrowed(x, rank, max(into, out))
        # The scale goes on the narrow side.
        return y + linear(linear(x, a.to(x.dtype)) * self.scaling, b.to(x.dtype)).to(y.dtype)

    def folded(self, now: Affine, frozen: Tensor) -> Affine:
        return Affine(now.weight + self.scaling * self.b @ self.a, now.bias)


class DoraSlot(LoraSlot):
    """(m / ||W + s B A||) * (y + s B A x); m ``(out,)``, the norm of every row."""

    reads_weight = True
    spared = ("magnitude",)

    def __init__(self, config: LoraConfig, place: Place, generator: torch.Generator) -> None:
        super().__init__(config, place, generator)
        # Computed where and as the norm will be, so that their ratio starts at exactly one on any device.
        self.magnitude = nn.Parameter(_row_norms(frozen_weight(place).float()))

    def forward(self, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        return super().forward(x, y, weight) * (self.magnitude / self._norm(weight))

    def folded(self, now: Affine, frozen: Tensor) -> Affine:
        scale = self.magnitude / self._norm(frozen)
        changed = super().folded(now, frozen)
        return Affine(scale[:, None] * changed.weight, None if now.bias is None else scale * now.bias)

    def _norm(self, weight: Tensor) -> Tensor:
        with torch.no_grad():
            return _row_norms(weight + self.scaling * self.b @ self.a)


def _row_norms(matrix: Tensor) -> Tensor:
    return matrix.square().sum(dim=1).sqrt()


def build(config: LoraConfig, places: Sequence[Place], shape: BackboneShape, draw: Draw) -> DeltaModule:
    """The modules of one LoRA."""
    kind = DoraSlot if config.dora else LoraSlot
    return DeltaModule({place.site: kind(config, place, draw.generator(place.site)) for place in places})
