"""What selective tuning declares: Ding et al. 2023, doi:10.1038/s42256-023-00626-4, *The power of scale*.

f(x; W + D), D trained at the chosen roles and blocks; with a budget, at a random choice of single elements, spread over
the weights as they are large, or of whole weights, in random order as long as they fit. Which, the config's own seed
decides, so that the number of parameters is known and several trials can train the same choice.
"""

from collections.abc import Sequence
from math import prod
from random import Random
from typing import Literal

from pydantic import Field

from autodelta.deltas.spec import ALL_LINEAR, LINEAR, LOOKUPS, NORMS, MethodConfig, MethodSpec, Order
from autodelta.errors import UserError
from autodelta.shape import BackboneShape, Site


class SelectiveConfig(MethodConfig):
    """The size of a selection."""

    budget: int | None = Field(default=None, ge=1)  # parameters at most; None: all at the chosen roles
    unit: Literal["element", "weight"] = "element"  # what is chosen at random
    choice: int = Field(default=0, ge=0)  # the seed of the choice


class SelectiveSpec(MethodSpec):
    """At most as many parameters as the budget: of elements exactly as many, if there are as many."""

    name = "selective"
    family = "specification"
    order = Order.WEIGHT
    parts = LINEAR | NORMS | LOOKUPS
    config = SelectiveConfig
    small = (
        SelectiveConfig(budget=400),
        SelectiveConfig(budget=600, unit="weight", choice=1),
        SelectiveConfig(),
    )
    usual = ALL_LINEAR
    formula = "f(x; W + D), D at chosen weights or elements"
    mergeable = "yes"
    identity_at_start = True
    divisible = False  # its budget is spread over all its weights
    source = "Ding et al. 2023, doi:10.1038/s42256-023-00626-4"

    def count(self, sites: Sequence[Site], config: MethodConfig, shape: BackboneShape) -> int:
        assert isinstance(config, SelectiveConfig)
        return sum(selected(sites, config, shape).values())

    def check(self, sites: Sequence[Site], config: MethodConfig, shape: BackboneShape) -> None:
        assert isinstance(config, SelectiveConfig)
        if not selected(sites, config, shape):
            smallest = min(prod(shape.weight_shape(site)) for site in sites)
            raise UserError(f"selective's budget must hold one weight: {config.budget} < {smallest}, the smallest")


def selected(sites: Sequence[Site], config: SelectiveConfig, shape: BackboneShape) -> dict[Site, int]:
    """How many elements are trained of which weight, by the first site that holds it."""
    sizes = {owner: prod(shape.weight_shape(owner)) for owner in dict.fromkeys(shape.owner(site) for site in sites)}
    if config.budget is None or config.budget >= sum(sizes.values()):
        return sizes
    if config.unit == "element":
        return _spread(sizes, config.budget)
    left, chosen = config.budget, {}
    for owner in Random(config.choice).sample(list(sizes), len(sizes)):
        if sizes[owner] <= left:
            chosen[owner] = sizes[owner]
            left -= sizes[owner]
    return chosen


def _spread(sizes: dict[Site, int], budget: int) -> dict[Site, int]:
    """The budget in proportion to the sizes, what rounding leaves given to the largest remainders."""
    total = sum(sizes.values())
    shares = {owner: divmod(budget * size, total) for owner, size in sizes.items()}
    left = budget - sum(share for share, _ in shares.values())
    favoured = set(sorted(shares, key=lambda owner: -shares[owner][1])[:left])
    counts = {owner: share + (owner in favoured) for owner, (share, _) in shares.items()}
    return {owner: count for owner, count in counts.items() if count}


SPEC = SelectiveSpec()
