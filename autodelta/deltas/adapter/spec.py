"""What adapters declare: Houlsby et al. 2019, arXiv:1902.00751, section 2.1, and two other placements.

With f(h) = s (W_up act(W_down h + b_down) + b_up), for a sublayer that maps x to y before its residual sum:
serial y + f(y) (Houlsby et al.); pfeiffer y + f(x + y) (Pfeiffer et al. 2021, arXiv:2005.00247: the adapter reads the
residual stream after the sum; theirs stand at ffn alone); parallel y + f(x) (He et al. 2022, arXiv:2110.04366).
W_up and b_up are zero at the start.
"""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from autodelta.deltas.spec import ALL_SUBLAYERS, SUBLAYERS, MethodConfig, MethodSpec, Order
from autodelta.errors import UserError
from autodelta.shape import BackboneShape, Site


class AdapterConfig(MethodConfig):
    """The sizes of an adapter."""

    bottleneck: int = Field(default=16, ge=1)
    placement: Literal["serial", "pfeiffer", "parallel"] = "serial"
    activation: Literal["relu", "gelu", "silu", "tanh"] = "relu"
    scale: float = Field(default=1.0, gt=0)


class AdapterSpec(MethodSpec):
    """Adapters at sublayers: 2 * d_model * bottleneck + bottleneck + d_model parameters a site."""

    name = "adapter"
    family = "addition"
    order = Order.MODULE
    parts = SUBLAYERS
    config = AdapterConfig
    small = (
        AdapterConfig(bottleneck=3),
        AdapterConfig(bottleneck=2, placement="parallel", activation="gelu", scale=4.0),
        AdapterConfig(bottleneck=2, placement="pfeiffer", activation="silu"),
    )
    usual = ALL_SUBLAYERS
    formula = "y + s (U act(D h + d) + u), h = y, x + y or x"
    mergeable = "no"
    identity_at_start = True
    source = "Houlsby et al. 2019, arXiv:1902.00751; pfeiffer: arXiv:2005.00247; parallel: arXiv:2110.04366"

    def count(self, sites: Sequence[Site], config: MethodConfig, shape: BackboneShape) -> int:
        assert isinstance(config, AdapterConfig)
        return len(sites) * (2 * shape.d_model * config.bottleneck + config.bottleneck + shape.d_model)

    def check(self, sites: Sequence[Site], config: MethodConfig, shape: BackboneShape) -> None:
        assert isinstance(config, AdapterConfig)
        if config.bottleneck > shape.d_model:
            raise UserError(f"an adapter's bottleneck must not exceed d_model: {config.bottleneck} > {shape.d_model}")


SPEC = AdapterSpec()
