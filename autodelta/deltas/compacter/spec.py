"""What Compacter declares: Mahabadi et al. 2021, arXiv:2106.04647, equations 4 and 5.

An adapter (deltas/adapter) with W = sum over i of A_i kron (s_i t_i), for both of its matrices: the A_i (n, n) are
shared by all sites, s_i (rows / n, rank) and t_i (rank, columns / n) are the site's own. The t_i of W_up start at zero.
"""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from autodelta.deltas.spec import ALL_SUBLAYERS, SUBLAYERS, MethodConfig, MethodSpec, Order
from autodelta.errors import UserError
from autodelta.shape import BackboneShape, Site


class CompacterConfig(MethodConfig):
    """The sizes of a Compacter."""

    bottleneck: int = Field(default=24, ge=1)
    divisions: int = Field(default=4, ge=1)  # n in the equations
    rank: int = Field(default=1, ge=1)
    placement: Literal["serial", "pfeiffer", "parallel"] = "serial"
    activation: Literal["relu", "gelu", "silu", "tanh"] = "gelu"
    scale: float = Field(default=1.0, gt=0)


class CompacterSpec(MethodSpec):
    """n^3 shared, and 2 * rank * (d_model + bottleneck) + bottleneck + d_model parameters a site."""

    name = "compacter"
    family = "addition"
    order = Order.MODULE
    parts = SUBLAYERS
    config = CompacterConfig
    small = (
        CompacterConfig(bottleneck=4, divisions=2),
        CompacterConfig(bottleneck=8, divisions=4, rank=2, placement="parallel", activation="relu", scale=2.0),
    )
    usual = ALL_SUBLAYERS
    formula = "an adapter whose U and D are Σᵢ Aᵢ ⊗ sᵢtᵢ, all Aᵢ shared"
    mergeable = "no"
    identity_at_start = True
    source = "Mahabadi et al. 2021, arXiv:2106.04647, eq. 4 and 5"

    def count(self, sites: Sequence[Site], config: MethodConfig, shape: BackboneShape) -> int:
        assert isinstance(config, CompacterConfig)
        sides = shape.d_model + config.bottleneck
        return config.divisions**3 + len(sites) * (2 * config.rank * sides + sides)

    def check(self, sites: Sequence[Site], config: MethodConfig, shape: BackboneShape) -> None:
        assert isinstance(config, CompacterConfig)
        if config.bottleneck > shape.d_model:
            raise UserError(f"a compacter's bottleneck must not exceed d_model: {config.bottleneck} > {shape.d_model}")
        for name, size in (("bottleneck", config.bottleneck), ("backbone's d_model", shape.d_model)):
            if size % config.divisions:
                raise UserError(f"a compacter's divisions must divide the {name}: {size} % {config.divisions} != 0")


SPEC = CompacterSpec()
