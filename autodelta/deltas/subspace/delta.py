"""Subspace training's modules: Aghajanyan et al. 2021, arXiv:2012.13255, equation 1, by Fastfood (arXiv:1408.3060).

Every block of a weight is H G S H B v: H a Hadamard matrix, B random signs, S a permutation, G a Gaussian diagonal; v
is filled up with zeros to a power of two, p. Scaled so that a weight's D has about the length of v. Departures: B and S
are drawn once for all blocks (G is every block's own and makes the blocks differ), so that H B v is computed once a
site and only G takes memory; Aghajanyan et al. use one block as large as the weight.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from autodelta.deltas.base import DeltaModule, Draw, Place, Seeded, frozen_weight, zeros
from autodelta.deltas.difference import DifferenceSlot
from autodelta.deltas.subspace.spec import SubspaceConfig
from autodelta.shape import BackboneShape, Site


class Fastfood(Seeded):
    """The vector v and its projections: ``signs`` and ``order`` ``(p,)``, a Gaussian ``(blocks, p)`` a weight."""

    signs: Tensor
    order: Tensor

    def __init__(self, dimension: int, sizes: dict[Site, int], draw: Draw) -> None:
        self.sizes = sizes
        self.padded = 1 << (dimension - 1).bit_length()
        super().__init__(draw)
        self.coordinates = zeros(dimension)
        for number, factor in enumerate(_hadamard_factors(self.padded)):
            self.register_buffer(f"hadamard_{number}", factor, persistent=False)

    def drawn(self, draw: Draw) -> dict[str, Tensor]:
        shared = draw.generator("shared")
        signs = torch.randint(2, (self.padded,), generator=shared) * 2.0 - 1
        order = torch.randperm(self.padded, generator=shared)
        gaussians = {
            f"gaussian_{number}": torch.randn(-(-size // self.padded), self.padded, generator=draw.generator(site))
            for number, (site, size) in enumerate(self.sizes.items())
        }
        return {"signs": signs, "order": order, **gaussians}

    def project(self, site: Site) -> Tensor:
        """P v for the weight at a site, flat."""
        size, number = self.sizes[site], list(self.sizes).index(site)
        padded = nn.functional.pad(self.coordinates, (0, self.padded - len(self.coordinates)))
        mixed = self._hadamard((padded * self.signs)[None])[:, self.order]
        blocks = self._hadamard(mixed * getattr(self, f"gaussian_{number}"))
        return blocks.flatten()[:size] / math.sqrt(size * self.padded)

    def _hadamard(self, rows: Tensor) -> Tensor:
        """Every row times H, which is the Kronecker product of two small ones: two small matrix products."""
        left, right = self.get_buffer("hadamard_0"), self.get_buffer("hadamard_1")
        return (left @ rows.view(-1, len(left), len(right)) @ right).flatten(1)


class SubspaceSlot(DifferenceSlot):
    """A difference that is the weight's share of P v."""

    def __init__(self, place: Place, owner: Site, fastfood: Fastfood) -> None:
        super().__init__(place)
        self.owner, self.size = owner, frozen_weight(place).shape
        self._fastfood = (fastfood,)  # in a tuple: registered with the delta, not with every slot

    def difference(self) -> Tensor:
        (fastfood,) = self._fastfood
        return fastfood.project(self.owner).view(self.size)


def _hadamard_factors(size: int) -> tuple[Tensor, Tensor]:
    """Two Hadamard matrices, unscaled, whose Kronecker product is the one of that size."""
    bits = size.bit_length() - 1
    return _hadamard_matrix(bits // 2), _hadamard_matrix(bits - bits // 2)


def _hadamard_matrix(bits: int) -> Tensor:
    matrix = torch.ones(1, 1)
    for _ in range(bits):
        matrix = torch.kron(torch.tensor([[1.0, 1.0], [1.0, -1.0]]), matrix)
    return matrix


def build(config: SubspaceConfig, places: Sequence[Place], shape: BackboneShape, draw: Draw) -> DeltaModule:
    """The modules of one subspace."""
    sizes = {
        owner: math.prod(shape.weight_shape(owner)) for owner in dict.fromkeys(shape.owner(p.site) for p in places)
    }
    fastfood = Fastfood(config.dimension, sizes, draw)
    return DeltaModule({p.site: SubspaceSlot(p, shape.owner(p.site), fastfood) for p in places}, fastfood)
