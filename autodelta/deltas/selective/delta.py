"""Selective tuning's modules: Ding et al. 2023, doi:10.1038/s42256-023-00626-4. Which elements is saved with them."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from autodelta.deltas.base import DeltaModule, Draw, Place, frozen_weight, zeros
from autodelta.deltas.difference import DifferenceSlot, TrainedDifference
from autodelta.deltas.selective.spec import SelectiveConfig, selected
from autodelta.shape import BackboneShape, Site


class Elements(nn.Module):
    """Trained differences of some elements of one weight: ``values`` and where they stand, both ``(count,)``."""

    where: Tensor

    def __init__(self, size: int, count: int, generator: torch.Generator) -> None:
        super().__init__()
        self.register_buffer("where", torch.randperm(size, generator=generator)[:count].sort().values)
        self.values = zeros(count)


class ElementsSlot(DifferenceSlot):
    """A difference that is zero but for the chosen elements; slots at tied weights are handed the same ones."""

    def __init__(self, place: Place, elements: Elements) -> None:
        super().__init__(place)
        self.elements = elements
        self.size = frozen_weight(place).shape

    def difference(self) -> Tensor:
        flat = self.elements.values.new_zeros(self.size.numel())
        return flat.scatter(0, self.elements.where, self.elements.values).view(self.size)


def build(config: SelectiveConfig, places: Sequence[Place], shape: BackboneShape, draw: Draw) -> DeltaModule:
    """The modules of one selection."""
    choice = Draw(config.choice, draw.method)
    weights = {shape.owner(place.site): frozen_weight(place) for place in places}
    trained: dict[Site, nn.Parameter | Elements] = {}
    for owner, count in selected([place.site for place in places], config, shape).items():
        weight = weights[owner]
        if count == weight.numel():
            trained[owner] = zeros(*weight.shape)
        else:
            trained[owner] = Elements(weight.numel(), count, choice.generator(owner))
    return DeltaModule({p.site: _slot(p, trained[owner]) for p in places if (owner := shape.owner(p.site)) in trained})


def _slot(place: Place, trained: nn.Parameter | Elements) -> DifferenceSlot:
    return ElementsSlot(place, trained) if isinstance(trained, Elements) else TrainedDifference(place, trained)
