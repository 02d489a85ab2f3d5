"""What full fine-tuning declares: y = f(x; W + D), with a difference D of W's shape that starts at zero.

Training D from zero is training W from the backbone's. The backbone itself stays frozen, for the next trial. Weight
decay pulls towards the backbone, not towards zero. Token embeddings that are tied have one difference.
"""

from collections.abc import Sequence
from math import prod

from autodelta.deltas.spec import ALL_LINEAR, ALL_NORMS, LINEAR, LOOKUPS, NORMS, MethodConfig, MethodSpec, Order
from autodelta.shape import BackboneShape, Site


class FullConfig(MethodConfig):
    """Full fine-tuning has no sizes."""


class FullSpec(MethodSpec):
    """A difference at every role with a weight: as many parameters as the weights have, tied ones once."""

    name = "full"
    family = "baseline"
    order = Order.WEIGHT
    parts = LINEAR | NORMS | LOOKUPS
    config = FullConfig
    small = (FullConfig(),)
    usual = (
        *ALL_LINEAR,
        *ALL_NORMS,
        *(f"{stack}.{table}" for stack in ("encoder", "decoder") for table in ("tokens", "positions")),
        "decoder.lm_head",
    )
    formula = "f(x; W + D)"
    mergeable = "yes"
    identity_at_start = True
    source = "Raffel et al. 2020, arXiv:1910.10683, section 3.1.2"

    def count(self, sites: Sequence[Site], config: MethodConfig, shape: BackboneShape) -> int:
        return sum(prod(shape.weight_shape(site)) for site in {shape.owner(site) for site in sites})


SPEC = FullSpec()
