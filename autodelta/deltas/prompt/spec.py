"""What prompt tuning declares: Lester et al. 2021, arXiv:2104.08691, section 2.

The stack reads [P; E] in place of the embeddings E, with P (length, d_model) trained.
"""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from autodelta.deltas.spec import EMBEDDINGS, MethodConfig, MethodSpec, Order
from autodelta.shape import BackboneShape, Site


class PromptConfig(MethodConfig):
    """The sizes of a soft prompt."""

    length: int = Field(default=20, ge=1)
    init: Literal["vocabulary", "labels", "random"] = "vocabulary"


class PromptSpec(MethodSpec):
    """Soft prompts at a stack's input embeddings: length * d_model parameters a site."""

    name = "prompt"
    family = "addition"
    order = Order.MODULE
    parts = EMBEDDINGS
    config = PromptConfig
    small = (PromptConfig(length=3), PromptConfig(length=2, init="random"), PromptConfig(length=2, init="labels"))
    usual = ("encoder.embeddings",)
    formula = "[P; E]"
    mergeable = "no"
    identity_at_start = False
    starts_slowly = True  # Ding et al. 2023: the slowest of all to converge
    source = "Lester et al. 2021, arXiv:2104.08691, section 2"

    def count(self, sites: Sequence[Site], config: MethodConfig, shape: BackboneShape) -> int:
        assert isinstance(config, PromptConfig)
        return len(sites) * config.length * shape.d_model


SPEC = PromptSpec()
