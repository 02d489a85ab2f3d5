"""What norm tuning declares: Zhao et al. 2023, arXiv:2312.11420; Qi et al. 2022, arXiv:2211.08682 (LN-tuning).

y = (w + d) x / rms(x). T5's norms have a scale w and nothing else, so that is all there is to tune.
"""

from collections.abc import Sequence

from autodelta.deltas.spec import ALL_NORMS, NORMS, MethodConfig, MethodSpec, Order
from autodelta.shape import BackboneShape, Site


class NormConfig(MethodConfig):
    """Norm tuning has no sizes."""


class NormSpec(MethodSpec):
    """A difference of every norm's scale: d_model parameters a site."""

    name = "norm"
    family = "specification"
    order = Order.WEIGHT
    parts = NORMS
    config = NormConfig
    small = (NormConfig(),)
    usual = ALL_NORMS
    formula = "(w + d) x / rms(x)"
    mergeable = "yes"
    identity_at_start = True
    source = "Zhao et al. 2023, arXiv:2312.11420; Qi et al. 2022, arXiv:2211.08682"

    def count(self, sites: Sequence[Site], config: MethodConfig, shape: BackboneShape) -> int:
        return len(sites) * shape.d_model


SPEC = NormSpec()
