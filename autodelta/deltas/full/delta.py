"""Full fine-tuning's modules: f(x; W + D), with a trained difference D for every weight, tied ones together."""

from collections.abc import Sequence

from torch import nn

from autodelta.deltas.base import DeltaModule, Draw, Place, frozen_weight, zeros
from autodelta.deltas.difference import TrainedDifference
from autodelta.deltas.full.spec import FullConfig
from autodelta.shape import BackboneShape, Site


def build(config: FullConfig, places: Sequence[Place], shape: BackboneShape, draw: Draw) -> DeltaModule:
    """The modules of one full fine-tuning."""
    differences: dict[Site, nn.Parameter] = {}
    for place in places:
        differences.setdefault(shape.owner(place.site), zeros(*frozen_weight(place).shape))
    return DeltaModule({place.site: TrainedDifference(place, differences[shape.owner(place.site)]) for place in places})
