"""What subspace training declares: Aghajanyan et al. 2021, arXiv:2012.13255, equation 1.

After Li et al. 2018, arXiv:1804.08838: W + D with D = P v, one vector v (dimension) for all sites, P a frozen random
Fastfood projection (Le et al. 2013, arXiv:1408.3060) of every weight's own. v starts at zero.
"""

from collections.abc import Sequence
from math import prod

from pydantic import Field

from autodelta.deltas.spec import ALL_LINEAR, LINEAR, LOOKUPS, NORMS, MethodConfig, MethodSpec, Order
from autodelta.errors import UserError
from autodelta.shape import BackboneShape, Site


class SubspaceConfig(MethodConfig):
    """The size of a subspace."""

    dimension: int = Field(default=1000, ge=1)


class SubspaceSpec(MethodSpec):
    """As many parameters as the subspace has dimensions, however many sites."""

    name = "subspace"
    family = "reparameterisation"
    order = Order.WEIGHT
    parts = LINEAR | NORMS | LOOKUPS
    config = SubspaceConfig
    small = (SubspaceConfig(dimension=5), SubspaceConfig(dimension=16))
    usual = ALL_LINEAR
    formula = "f(x; W + P v), one v for all sites, P a random Fastfood projection"
    mergeable = "yes"
    identity_at_start = True
    divisible = False  # its dimension may exceed the weights that are left
    source = "Aghajanyan et al. 2021, arXiv:2012.13255, eq. 1; Fastfood: arXiv:1408.3060"

    def count(self, sites: Sequence[Site], config: MethodConfig, shape: BackboneShape) -> int:
        assert isinstance(config, SubspaceConfig)
        return config.dimension

    def check(self, sites: Sequence[Site], config: MethodConfig, shape: BackboneShape) -> None:
        assert isinstance(config, SubspaceConfig)
        bound = sum(prod(shape.weight_shape(site)) for site in {shape.owner(site) for site in sites})
        if config.dimension > bound:
            raise UserError(f"a subspace must not exceed the weights it lies in: {config.dimension} > {bound}")


SPEC = SubspaceSpec()
