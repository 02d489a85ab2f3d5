"""What LoRA declares: Hu et al. 2021, arXiv:2106.09685, equation 3, and two variants.

LoRA: y = W x + s B A x, with A (r, in) drawn at random, B (out, r) zero at the start, s = alpha / r.
rsLoRA: s = alpha / sqrt(r) (Kalajdzievski 2023, arXiv:2312.03732, theorem 3.2).
DoRA: y = m * (W + s B A) x / ||W + s B A||, with one trained magnitude m an output, which starts at ||W|| (Liu et al.
2024, arXiv:2402.09353, equation 5).
"""

from collections.abc import Sequence

from pydantic import Field

from autodelta.deltas.spec import ALL_ATTENTIONS, LINEAR, MethodConfig, MethodSpec, Order
from autodelta.errors import UserError
from autodelta.shape import BackboneShape, Site


class LoraConfig(MethodConfig):
    """The sizes of a LoRA."""

    rank: int = Field(default=8, ge=1)
    alpha: float = Field(default=16.0, gt=0)
    rslora: bool = False
    dora: bool = False

    @property
    def scaling(self) -> float:
        """S in the equations."""
        return self.alpha / (self.rank**0.5 if self.rslora else self.rank)


class LoraSpec(MethodSpec):
    """LoRA at linear roles: rank * (in + out) parameters a site, DoRA out more."""

    name = "lora"
    family = "reparameterisation"
    order = Order.WEIGHT
    parts = LINEAR
    config = LoraConfig
    small = (
        LoraConfig(rank=2),
        LoraConfig(rank=3, alpha=2.0, rslora=True),
        LoraConfig(rank=2, alpha=2.0, dora=True),
    )
    usual = tuple(f"{attention}.{name}" for attention in ALL_ATTENTIONS for name in "qv")
    formula = "y + s B A x; DoRA: m (y + s B A x) / ‖W + s B A‖"
    mergeable = "yes"
    identity_at_start = True
    source = "Hu et al. 2021, arXiv:2106.09685, eq. 3; rsLoRA: arXiv:2312.03732; DoRA: arXiv:2402.09353, eq. 5"

    def count(self, sites: Sequence[Site], config: MethodConfig, shape: BackboneShape) -> int:
        assert isinstance(config, LoraConfig)
        shapes = [shape.weight_shape(site) for site in sites]
        return sum(config.rank * sum(sides) + config.dora * sides[0] for sides in shapes)

    def check(self, sites: Sequence[Site], config: MethodConfig, shape: BackboneShape) -> None:
        assert isinstance(config, LoraConfig)
        for site in sites:
            bound = min(shape.weight_shape(site))
            if config.rank > bound:
                raise UserError(f"lora's rank must not exceed a side of the weight: {config.rank} > {bound} at {site}")


SPEC = LoraSpec()
