"""Compacter's modules: Mahabadi et al. 2021, arXiv:2106.04647, equations 4 and 5.

Departures: initial factors are drawn so that W_down has the variance of a linear layer's (the paper's A_i of standard
deviation 0.01 let the first steps do next to nothing), and W_up is zero, so that a fresh Compacter changes nothing.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from autodelta.deltas.base import DeltaModule, Draw, Place, normal, zeros
from autodelta.deltas.bottleneck import BottleneckSlot
from autodelta.deltas.compacter.spec import CompacterConfig
from autodelta.shape import BackboneShape


class Rule(nn.Module):
    """A ``(n, n, n)``, the factors that all sites share."""

    def __init__(self, divisions: int, generator: torch.Generator) -> None:
        super().__init__()
        self.a = normal((divisions, divisions, divisions), divisions**-0.5, generator)


class CompacterSlot(BottleneckSlot):
    """A bottleneck with W_down = (sum of A_i kron (s_i t_i)) transposed, W_up alike; (in, out) before transposing."""

    def __init__(self, config: CompacterConfig, d_model: int, rule: Rule, generator: torch.Generator) -> None:
        super().__init__(d_model, config.bottleneck, config.placement, config.activation, config.scale)
        n, rank = config.divisions, config.rank
        wide, narrow = d_model // n, config.bottleneck // n
        spread = (3 * d_model * rank) ** -0.25
        self.down_left = normal((n, wide, rank), spread, generator)
        self.down_right = normal((n, rank, narrow), spread, generator)
        self.up_left = normal((n, narrow, rank), (3 * config.bottleneck * rank) ** -0.25, generator)
        self.up_right = zeros(n, rank, wide)
        self._rule = (rule,)  # in a tuple: registered with the delta, not with every slot

    def matrices(self) -> tuple[Tensor, Tensor]:
        (rule,) = self._rule
        return kronecker(rule.a, self.down_left @ self.down_right).T, kronecker(rule.a, self.up_left @ self.up_right).T


def kronecker(a: Tensor, b: Tensor) -> Tensor:
    """The sum over i of A_i kron B_i; A ``(n, p, q)``, B ``(n, k, l)``, the sum ``(p k, q l)``."""
    product = torch.einsum("npq,nkl->pkql", a, b)
    return product.reshape(a.shape[1] * b.shape[1], a.shape[2] * b.shape[2])


def build(config: CompacterConfig, places: Sequence[Place], shape: BackboneShape, draw: Draw) -> DeltaModule:
    """The modules of one Compacter."""
    rule = Rule(config.divisions, draw.generator("shared"))
    slots = {p.site: CompacterSlot(config, shape.d_model, rule, draw.generator(p.site)) for p in places}
    return DeltaModule(slots, rule)
