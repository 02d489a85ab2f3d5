"""What a delta method declares about itself, without torch; and the registry, which is the folder itself.

A method is a folder ``autodelta/deltas/<name>/`` whose ``spec.py`` holds one ``SPEC`` and whose ``delta.py`` holds the
modules and a function ``build(config, places, shape, draw) -> DeltaModule`` (``autodelta.deltas.base``). Nothing else
names it: putting the folder there registers it.
"""

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Sequence
from enum import IntEnum
from functools import cache
from typing import ClassVar, Literal

from autodelta.errors import one_of
from autodelta.frozen import Frozen
from autodelta.shape import BackboneShape, Site

# The parts a method may accept, by kind (autodelta.shape.Kind), without the stack.
_ATTENTIONS = ("self_attn", "cross_attn")
SUBLAYERS = frozenset({*_ATTENTIONS, "ffn"})
LINEAR = frozenset({f"{attention}.{name}" for attention in _ATTENTIONS for name in "qkvo"}) | {
    "ffn.in", "ffn.gate", "ffn.out", "lm_head"
}  # fmt: skip
NORMS = frozenset({f"{sublayer}.norm" for sublayer in SUBLAYERS}) | {"final_norm"}
LOOKUPS = frozenset({"tokens", "positions"})
KEYS_VALUES = frozenset({f"{attention}.keys_values" for attention in _ATTENTIONS})
EMBEDDINGS = frozenset({"embeddings"})

_SELF, _CROSS = ("encoder.self_attn", "decoder.self_attn"), ("decoder.cross_attn",)
ALL_ATTENTIONS = _SELF + _CROSS
ALL_SUBLAYERS = (*ALL_ATTENTIONS, "encoder.ffn", "decoder.ffn")
ALL_NORMS = (*(f"{sublayer}.norm" for sublayer in ALL_SUBLAYERS), "encoder.final_norm", "decoder.final_norm")
ALL_LINEAR = (
    *(f"{attention}.{name}" for attention in ALL_ATTENTIONS for name in "qkvo"),
    *(f"{stack}.ffn.{name}" for stack in ("encoder", "decoder") for name in ("in", "out")),
)

Family = Literal["addition", "specification", "reparameterisation", "baseline"]


class Order(IntEnum):
    """Where a method stands when several share a site: lower ones are applied first."""

    WEIGHT = 0  # changes of the linear map: lora, subspace, selective, full
    BIAS = 1
    SCALE = 2
    MODULE = 3  # modules beside or after a sublayer, keys and values, embeddings


class MethodConfig(Frozen):
    """The sizes of one delta; a method subclasses it with fields of its own."""


class MethodSpec(ABC):
    """One delta method: where it fits, what it costs, where it comes from."""

    name: ClassVar[str]
    family: ClassVar[Family]
    order: ClassVar[Order]
    parts: ClassVar[frozenset[str]]  # parts it accepts, without the stack: "self_attn.q"
    config: ClassVar[type[MethodConfig]]
    usual: ClassVar[tuple[str, ...]]  # the roles of the paper, on a T5; for documentation
    formula: ClassVar[str]  # one line
    mergeable: ClassVar[Literal["yes", "in part", "no"]]  # whether autodelta.deltas.merge can fold it into weights
    divisible: ClassVar[bool] = True  # a delta at some of its sites is the same there as one at all of them
    starts_slowly: ClassVar[bool] = False  # early scores say little of it: first compared a rung later than others
    identity_at_start: ClassVar[bool]  # a fresh delta leaves the backbone's output unchanged, bit for bit
    small: ClassVar[tuple[MethodConfig, ...]]  # one for every variant, fit for the smallest backbone: what tests run
    source: ClassVar[str]  # paper, arXiv id, equation

    @abstractmethod
    def count(self, sites: Sequence[Site], config: MethodConfig, shape: BackboneShape) -> int:
        """Trainable parameters of one delta at these sites, exactly, without building anything."""

    def check(self, sites: Sequence[Site], config: MethodConfig, shape: BackboneShape) -> None:
        """Raises ValueError, with rule, value and bound, where sizes do not fit the backbone."""
        return


@cache
def specs() -> dict[str, MethodSpec]:
    """Every method by name, found by looking into this folder."""
    package = importlib.import_module("autodelta.deltas")
    found = [
        importlib.import_module(f"autodelta.deltas.{entry.name}.spec").SPEC
        for entry in pkgutil.iter_modules(package.__path__)
        if entry.ispkg
    ]
    return {spec.name: spec for spec in sorted(found, key=lambda spec: str(spec.name))}


def spec(name: str) -> MethodSpec:
    """The method of that name.

    Raises:
        UserError: there is none.
    """
    if name not in specs():
        raise one_of("method", name, specs())
    return specs()[name]
