"""BitFit's modules: Ben Zaken et al. 2022, arXiv:2106.10199, section 3, with biases created at zero."""

from collections.abc import Sequence

from torch import Tensor

from autodelta.deltas.base import Affine, DeltaModule, Draw, Place, Slot, frozen_weight, zeros
from autodelta.deltas.bitfit.spec import BitfitConfig
from autodelta.shape import BackboneShape, Kind


class BitfitSlot(Slot):
    """y + b; b ``(out,)``."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self.bias = zeros(frozen_weight(place).shape[0])
        self.kind = place.kind

    def forward(self, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        return y + self.bias.to(y.dtype)

    def folded(self, now: Affine, frozen: Tensor) -> Affine | None:
        if self.kind != Kind.LINEAR:
            return None
        return Affine(now.weight, self.bias if now.bias is None else now.bias + self.bias)


def build(config: BitfitConfig, places: Sequence[Place], shape: BackboneShape, draw: Draw) -> DeltaModule:
    """The modules of one set of biases."""
    return DeltaModule({place.site: BitfitSlot(place) for place in places})
