"""What prefix tuning declares: Li & Liang 2021, arXiv:2101.00190, sections 4.2 and 4.3.

attention(q, [P_K; K], [P_V; V]), with P_K and P_V (length, heads * d_kv) trained. Reparameterised: [P_K; P_V] of every
site = W_site tanh(W E + b) + b_site, with E (length, d_model), W and b shared by all sites.
"""

from collections.abc import Sequence

from pydantic import Field

from autodelta.deltas.spec import ALL_ATTENTIONS, KEYS_VALUES, MethodConfig, MethodSpec, Order
from autodelta.shape import BackboneShape, Site


class PrefixConfig(MethodConfig):
    """The sizes of a prefix."""

    length: int = Field(default=10, ge=1)
    hidden: int | None = Field(
        default=None, ge=1
    )  # of the reparameterising network; None: prefixes are trained as such


class PrefixSpec(MethodSpec):
    """2 * length * heads * d_kv parameters a site.

    Reparameterised with h hidden units: length * d_model + (d_model + 1) * h shared, 2 * heads * d_kv * (h + 1) a site.
    """

    name = "prefix"
    family = "addition"
    order = Order.MODULE
    parts = KEYS_VALUES
    config = PrefixConfig
    small = (PrefixConfig(length=3), PrefixConfig(length=2, hidden=5))
    usual = tuple(f"{attention}.keys_values" for attention in ALL_ATTENTIONS)
    formula = "[P_K; K], [P_V; V]"
    mergeable = "no"
    identity_at_start = False
    source = "Li & Liang 2021, arXiv:2101.00190, sections 4.2 and 4.3"

    def count(self, sites: Sequence[Site], config: MethodConfig, shape: BackboneShape) -> int:
        assert isinstance(config, PrefixConfig)
        width = 2 * shape.num_heads * shape.d_kv
        if config.hidden is None:
            return len(sites) * config.length * width
        shared = config.length * shape.d_model + (shape.d_model + 1) * config.hidden
        return shared + len(sites) * width * (config.hidden + 1)


SPEC = PrefixSpec()
