"""Full fine-tuning's modules: y + D x beside the frozen map, which is f(x; W + D) as every such map is linear in W."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import embedding, linear

from autodelta.deltas.base import DeltaModule, Draw, Place, Slot, frozen_weight, normalised, zeros
from autodelta.deltas.full.spec import FullConfig
from autodelta.shape import BackboneShape, Kind, Site


class FullSlot(Slot):
    """y + D x at linear layers, y + D[ids] at tables, y + d * norm(x) at norms; D has the shape of the weight."""

    def __init__(self, place: Place, difference: nn.Parameter) -> None:
        super().__init__()
        self.difference = difference
        self.kind, self.epsilon = place.kind, place.epsilon

    def forward(self, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        if self.kind == Kind.LINEAR:
            return y + linear(x, self.difference.to(x.dtype))
        if self.kind == Kind.LOOKUP:
            return y + embedding(x, self.difference)
        return y + normalised(x, self.epsilon) * self.difference

    def folded(self, weight: Tensor) -> Tensor:
        return weight.float() + self.difference


def build(config: FullConfig, places: Sequence[Place], shape: BackboneShape, draw: Draw) -> DeltaModule:
    """The modules of one full fine-tuning."""
    differences: dict[Site, nn.Parameter] = {}
    for place in places:
        differences.setdefault(shape.owner(place.site), zeros(*frozen_weight(place).shape))
    return DeltaModule({place.site: FullSlot(place, differences[shape.owner(place.site)]) for place in places})
