"""What (IA)³ declares: Liu et al. 2022, arXiv:2205.05638, section 3.3.

l_k * (W_k x), l_v * (W_v x), W_out (l_ff * h): keys, values and the feed-forward network's inner activations h are
rescaled by vectors that start at one. At the other linear roles, as in peft, the output is rescaled.
"""

from collections.abc import Sequence

from autodelta.deltas.spec import ALL_ATTENTIONS, LINEAR, MethodConfig, MethodSpec, Order
from autodelta.shape import BackboneShape, Site


class Ia3Config(MethodConfig):
    """(IA)³ has no sizes."""


def rescaled_axis(site: Site) -> int:
    """The axis of the weight (out, in) along which the scale runs: the input of the feed-forward network's way out."""
    return 1 if site.part == "ffn.out" else 0


class Ia3Spec(MethodSpec):
    """Scales at linear roles: as many parameters as the site has outputs, at ffn.out as it has inputs."""

    name = "ia3"
    family = "addition"
    order = Order.SCALE
    parts = LINEAR - {"lm_head"}
    config = Ia3Config
    small = (Ia3Config(),)
    usual = (
        *(f"{attention}.{name}" for attention in ALL_ATTENTIONS for name in "kv"),
        "encoder.ffn.out",
        "decoder.ffn.out",
    )
    formula = "l ∘ y; at ffn.out W (l ∘ x)"
    mergeable = "yes"
    identity_at_start = True
    source = "Liu et al. 2022, arXiv:2205.05638, section 3.3"

    def count(self, sites: Sequence[Site], config: MethodConfig, shape: BackboneShape) -> int:
        return sum(shape.weight_shape(site)[rescaled_axis(site)] for site in sites)


SPEC = Ia3Spec()
