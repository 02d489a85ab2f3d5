"""What VeRA declares: Kopiczko et al. 2023, arXiv:2310.11454, equation 2.

y = W x + L_b B L_d A x: A (r, in) and B (out, r) random, frozen and the same at all sites (cut to size), L_d and L_b
trained diagonals; L_d starts at a small constant, L_b at zero.
"""

from collections.abc import Sequence

from pydantic import Field

from autodelta.deltas.spec import ALL_ATTENTIONS, LINEAR, MethodConfig, MethodSpec, Order
from autodelta.shape import BackboneShape, Site


class VeraConfig(MethodConfig):
    """The sizes of a VeRA."""

    rank: int = Field(default=64, ge=1)  # may exceed the dimensions: random directions, not a factorisation
    start: float = Field(default=0.1, gt=0)  # of L_d


class VeraSpec(MethodSpec):
    """VeRA at linear roles: rank + out parameters a site."""

    name = "vera"
    family = "reparameterisation"
    order = Order.WEIGHT
    parts = LINEAR
    config = VeraConfig
    small = (VeraConfig(rank=5), VeraConfig(rank=20, start=0.5))
    usual = tuple(f"{attention}.{name}" for attention in ALL_ATTENTIONS for name in "qv")
    formula = "y + b ∘ B (d ∘ A x), A and B random and shared"
    mergeable = "yes"
    identity_at_start = True
    divisible = False  # its projections are as large as its largest site
    source = "Kopiczko et al. 2023, arXiv:2310.11454, eq. 2"

    def count(self, sites: Sequence[Site], config: MethodConfig, shape: BackboneShape) -> int:
        assert isinstance(config, VeraConfig)
        return sum(config.rank + shape.weight_shape(site)[0] for site in sites)


SPEC = VeraSpec()
