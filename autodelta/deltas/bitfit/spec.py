"""What BitFit declares: Ben Zaken et al. 2022, arXiv:2106.10199, section 3.

y = f(x) + b. A T5 has no biases at all, so they are created, at zero.
"""

from collections.abc import Sequence

from autodelta.deltas.spec import ALL_LINEAR, ALL_NORMS, LINEAR, NORMS, MethodConfig, MethodSpec, Order
from autodelta.shape import BackboneShape, Site


class BitfitConfig(MethodConfig):
    """BitFit has no sizes."""


class BitfitSpec(MethodSpec):
    """Biases at linear roles and norms: as many parameters as the site has outputs."""

    name = "bitfit"
    family = "specification"
    order = Order.BIAS
    parts = LINEAR | NORMS
    config = BitfitConfig
    small = (BitfitConfig(),)
    usual = (*ALL_LINEAR, *ALL_NORMS)
    formula = "y + b"
    mergeable = "in part"
    identity_at_start = True
    source = "Ben Zaken et al. 2022, arXiv:2106.10199, section 3"

    def count(self, sites: Sequence[Site], config: MethodConfig, shape: BackboneShape) -> int:
        return sum(shape.weight_shape(site)[0] for site in sites)


SPEC = BitfitSpec()
