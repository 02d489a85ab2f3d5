"""What LoRA declares: Hu et al. 2021, arXiv:2106.09685, equation 3.

y = W x + (alpha / r) B A x, with A (r, in) drawn at random and B (out, r) zero at the start.
"""

from collections.abc import Sequence

from pydantic import Field

from autodelta.deltas.spec import LINEAR, MethodConfig, MethodSpec, Order
from autodelta.errors import UserError
from autodelta.shape import BackboneShape, Site


class LoraConfig(MethodConfig):
    """The sizes of a LoRA."""

    rank: int = Field(default=8, ge=1)
    alpha: float = Field(default=16.0, gt=0)


class LoraSpec(MethodSpec):
    """LoRA at linear roles: rank * (in + out) parameters a site."""

    name = "lora"
    family = "reparameterisation"
    order = Order.WEIGHT
    parts = LINEAR
    config = LoraConfig
    small = (LoraConfig(rank=2), LoraConfig(rank=3, alpha=1.0))
    identity_at_start = True
    source = "Hu et al. 2021, arXiv:2106.09685, eq. 3"

    def count(self, sites: Sequence[Site], config: MethodConfig, shape: BackboneShape) -> int:
        assert isinstance(config, LoraConfig)
        return sum(config.rank * sum(shape.weight_shape(site)) for site in sites)

    def check(self, sites: Sequence[Site], config: MethodConfig, shape: BackboneShape) -> None:
        assert isinstance(config, LoraConfig)
        for site in sites:
            bound = min(shape.weight_shape(site))
            if config.rank > bound:
                raise UserError(
                    f"lora's rank must not exceed the smaller side of the weight: {config.rank} > {bound} at {site}"
                )


SPEC = LoraSpec()
