"""Norm tuning's modules: Zhao et al. 2023, arXiv:2312.11420. The difference is trained; the frozen scale stays."""

from collections.abc import Sequence

from autodelta.deltas.base import DeltaModule, Draw, Place, frozen_weight, zeros
from autodelta.deltas.difference import TrainedDifference
from autodelta.deltas.norm.spec import NormConfig
from autodelta.shape import BackboneShape


def build(config: NormConfig, places: Sequence[Place], shape: BackboneShape, draw: Draw) -> DeltaModule:
    """The modules of one norm tuning."""
    return DeltaModule({p.site: TrainedDifference(p, zeros(*frozen_weight(p).shape)) for p in places})
