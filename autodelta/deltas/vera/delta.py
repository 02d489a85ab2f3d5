"""VeRA's modules: Kopiczko et al. 2023, arXiv:2310.11454, equation 2; projections drawn as in peft.

Not the projections are saved but the seed that draws them.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from autodelta.deltas.base import Affine, DeltaModule, Draw, Place, Seeded, Slot, frozen_weight, zeros
from autodelta.deltas.vera.spec import VeraConfig
from autodelta.shape import BackboneShape


class Projections(Seeded):
    """A ``(r, largest in)`` and B ``(largest out, r)``, uniform with the variance of Kaiming's normal."""

    a: Tensor
    b: Tensor

    def __init__(self, rank: int, out_features: int, in_features: int, draw: Draw) -> None:
        self.sizes = {"a": (rank, in_features), "b": (out_features, rank)}
        super().__init__(draw)

    def drawn(self, draw: Draw) -> dict[str, Tensor]:
        bounds = {name: (6 / shape[1]) ** 0.5 for name, shape in self.sizes.items()}
        return {
            name: torch.empty(shape).uniform_(-bounds[name], bounds[name], generator=draw.generator(f"shared.{name}"))
            for name, shape in self.sizes.items()
        }


class VeraSlot(Slot):
    """y + b * (B (d * (A x))); d ``(r,)``, b ``(out,)``."""

    def __init__(self, config: VeraConfig, place: Place, shared: Projections) -> None:
        super().__init__()
        self.out_features, self.in_features = frozen_weight(place).shape
        self.d = nn.Parameter(torch.full((config.rank,), config.start))
        self.b = zeros(self.out_features)
        self._shared = (shared,)  # in a tuple: registered with the delta, not with every slot

    def forward(self, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        a, b = self._cut()
        narrow = linear(x, a.to(x.dtype)) * self.d
        return y + linear(narrow.to(x.dtype), b.to(x.dtype)) * self.b

    def folded(self, now: Affine, frozen: Tensor) -> Affine:
        a, b = self._cut()
        return Affine(now.weight + self.b[:, None] * b @ (self.d[:, None] * a), now.bias)

    def _cut(self) -> tuple[Tensor, Tensor]:
        (shared,) = self._shared
        return shared.a[:, : self.in_features], shared.b[: self.out_features]


def build(config: VeraConfig, places: Sequence[Place], shape: BackboneShape, draw: Draw) -> DeltaModule:
    """The modules of one VeRA."""
    sides = [frozen_weight(place).shape for place in places]
    shared = Projections(config.rank, max(side[0] for side in sides), max(side[1] for side in sides), draw)
    return DeltaModule({place.site: VeraSlot(config, place, shared) for place in places}, shared)
