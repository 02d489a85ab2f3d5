"""Adapters' modules: Houlsby et al. 2019, arXiv:1902.00751, section 2.1; He et al. 2022, arXiv:2110.04366, table 1.

Departure: the up-projection starts at zero, not near it, so that a fresh adapter changes nothing at all.
"""

from collections.abc import Sequence

from autodelta.deltas.adapter.spec import AdapterConfig
from autodelta.deltas.base import DeltaModule, Draw, Place, kaiming_uniform
from autodelta.deltas.bottleneck import PlainBottleneck
from autodelta.shape import BackboneShape


def build(config: AdapterConfig, places: Sequence[Place], shape: BackboneShape, draw: Draw) -> DeltaModule:
    """The modules of one set of adapters."""
    return DeltaModule(
        {
            place.site: PlainBottleneck(
                kaiming_uniform((config.bottleneck, shape.d_model), draw.generator(place.site)),
                placement=config.placement,
                function=config.activation,
                scale=config.scale,
            )
            for place in places
        }
    )
