"""The shape of a T5, without torch: which roles it has, at which sites, with which dimensions.

A *role* is a place named by what it does: ``encoder.self_attn.q``. A *site* is a role in one block:
``encoder.3.self_attn.q``; roles outside the blocks (``encoder.embeddings``) have one site without a block number.
"""

from functools import lru_cache
from math import prod
from typing import Any, Literal, NamedTuple

from autodelta.errors import UserError
from autodelta.frozen import Frozen

Stack = Literal["encoder", "decoder"]
STACKS: tuple[Stack, ...] = ("encoder", "decoder")

ATTENTIONS: dict[Stack, tuple[str, ...]] = {"encoder": ("self_attn",), "decoder": ("self_attn", "cross_attn")}


class Kind:
    """What stands at a role, and so what a delta there maps (architecture.md, *A delta method*)."""

    LINEAR = "linear"  # (x, y, weight) -> y, x (batch, length, in), y (batch, length, out), weight (out, in)
    SUBLAYER = "sublayer"  # (x, y, None) -> y, the block's input to and output of a sublayer, before the residual sum
    NORM = "norm"  # (x, y, weight) -> y, weight (d_model,)
    KEYS_VALUES = "keys_values"  # (k, v, mask) -> (k, v, mask), k and v (batch, heads, length, d_kv)
    EMBEDDINGS = "embeddings"  # (embeddings, mask) -> (embeddings, mask), embeddings (batch, length, d_model)
    LOOKUP = "lookup"  # (ids, y, weight) -> y, a table looked up by row: token embeddings, relative position bias


class Site(NamedTuple):
    """One role in one block; ``block`` is None for a role outside the blocks."""

    stack: Stack
    block: int | None
    part: str

    @property
    def role(self) -> str:
        return f"{self.stack}.{self.part}"

    def __str__(self) -> str:
        return self.role if self.block is None else f"{self.stack}.{self.block}.{self.part}"

    @classmethod
    def parse(cls, text: str) -> "Site":
        stack, rest = text.split(".", 1)
        number, _, part = rest.partition(".")
        if number.isdigit():
            return cls(_stack(stack), int(number), part)
        return cls(_stack(stack), None, rest)


def _stack(name: str) -> Stack:
    if name not in STACKS:
        raise ValueError(f"unknown stack {name!r}; choose from: {', '.join(STACKS)}")
    return name


class BackboneShape(Frozen):
    """The dimensions of a T5 that decide where deltas fit and how many parameters they have."""

    vocab_size: int
    d_model: int
    d_kv: int
    d_ff: int
    num_heads: int
    encoder_blocks: int
    decoder_blocks: int
    gated: bool
    tied: bool  # the output layer shares the token embeddings; the two stacks always share them
    relative_buckets: int
    positions_in_blocks: bool = False  # UMT5: a relative position bias in every block, elsewhere one a stack

    @classmethod
    def of(cls, hf_config: Any) -> "BackboneShape":
        """The shape that a Hugging Face T5 config describes (``T5Config``, ``MT5Config``, ``UMT5Config`` or alike).

        A model may be handed in, too, and is better where embeddings matter: transformers 5 says in the config of
        every T5 that they are tied, also where a checkpoint (v1.1, flan, mT5) has an output layer of its own.
        A shape is returned as it is.

        Raises:
            UserError: it is no T5, or one without a language-model head.
        """
        if isinstance(hf_config, BackboneShape):
            return hf_config
        try:
            return cls._of_model(hf_config) if hasattr(hf_config, "get_output_embeddings") else cls._stated(hf_config)
        except AttributeError as error:
            raise no_t5(hf_config) from error

    @classmethod
    def _of_model(cls, model: Any) -> "BackboneShape":
        tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
        return cls._stated(model.config).model_copy(update={"tied": tied})

    @classmethod
    def _stated(cls, hf_config: Any) -> "BackboneShape":
        feed_forward = str(getattr(hf_config, "feed_forward_proj", "relu"))
        return cls(
            vocab_size=hf_config.vocab_size,
            d_model=hf_config.d_model,
            d_kv=hf_config.d_kv,
            d_ff=hf_config.d_ff,
            num_heads=hf_config.num_heads,
            encoder_blocks=hf_config.num_layers,
            decoder_blocks=hf_config.num_decoder_layers or hf_config.num_layers,
            gated=bool(getattr(hf_config, "is_gated_act", feed_forward.startswith("gated"))),
            tied=bool(hf_config.tie_word_embeddings),
            relative_buckets=hf_config.relative_attention_num_buckets,
            positions_in_blocks=getattr(hf_config, "model_type", "t5") == "umt5",
        )

    def blocks(self, stack: Stack) -> int:
        return self.encoder_blocks if stack == "encoder" else self.decoder_blocks

    def parts(self, stack: Stack) -> dict[str, str]:
        """The parts of one block of a stack, in the order in which a token passes them, each with its kind."""
        parts: dict[str, str] = {}
        if self.positions_in_blocks:
            parts["positions"] = Kind.LOOKUP
        for attention in ATTENTIONS[stack]:
            parts[f"{attention}.norm"] = Kind.NORM
            for projection in "qkv":
                parts[f"{attention}.{projection}"] = Kind.LINEAR
            parts[f"{attention}.keys_values"] = Kind.KEYS_VALUES
            parts[f"{attention}.o"] = Kind.LINEAR
            parts[attention] = Kind.SUBLAYER
        parts["ffn.norm"] = Kind.NORM
        parts["ffn.in"] = Kind.LINEAR
        if self.gated:
            parts["ffn.gate"] = Kind.LINEAR
        parts["ffn.out"] = Kind.LINEAR
        parts["ffn"] = Kind.SUBLAYER
        return parts

    def outer_parts(self, stack: Stack) -> dict[str, str]:
        """The parts of a stack outside its blocks, each with its kind."""
        parts = {
            "tokens": Kind.LOOKUP,  # the token embedding table
            "embeddings": Kind.EMBEDDINGS,  # what the table gives, before the first block
            "positions": Kind.LOOKUP,  # the relative position bias, (buckets, heads)
            "final_norm": Kind.NORM,
        }
        if self.positions_in_blocks:
            del parts["positions"]
        if stack == "decoder":
            parts["lm_head"] = Kind.LINEAR
        return parts

    def kinds(self) -> dict[str, str]:
        """Every role of this backbone with its kind."""
        return {
            f"{stack}.{part}": kind
            for stack in STACKS
            for part, kind in {**self.parts(stack), **self.outer_parts(stack)}.items()
        }

    def sites(self) -> tuple[Site, ...]:
        """Every site, encoder first, from input to output."""
        return _sites(self)

    def kind(self, site: Site) -> str:
        parts = self.outer_parts(site.stack) if site.block is None else self.parts(site.stack)
        return parts[site.part]

    def owner(self, site: Site) -> Site:
        """The first site that holds the same weight: tied token embeddings are one weight at several sites."""
        shared = site.part == "tokens" or (site.part == "lm_head" and self.tied)
        return Site("encoder", None, "tokens") if shared else site

    def count_parameters(self) -> int:
        """All parameters of the backbone, exactly; weights that are tied or shared by the stacks are counted once."""
        weighty = (Kind.LINEAR, Kind.NORM, Kind.LOOKUP)
        owners = {self.owner(site) for site in self.sites() if self.kind(site) in weighty}
        return sum(prod(self.weight_shape(site)) for site in owners)

    def weight_shape(self, site: Site) -> tuple[int, ...]:
        """The shape of the frozen weight at a site, as torch has it: (out, in), (rows, columns) or (d_model,).

        Raises:
            ValueError: nothing with a weight stands there (a sublayer, keys and values, a stack's input).
        """
        inner = self.num_heads * self.d_kv
        last = site.part.rsplit(".", 1)[-1]
        if last in ("q", "k", "v"):
            return (inner, self.d_model)
        if last == "o":
            return (self.d_model, inner)
        shapes: dict[str, tuple[int, ...]] = {
            "in": (self.d_ff, self.d_model),
            "gate": (self.d_ff, self.d_model),
            "out": (self.d_model, self.d_ff),
            "norm": (self.d_model,),
            "final_norm": (self.d_model,),
            "tokens": (self.vocab_size, self.d_model),
            "lm_head": (self.vocab_size, self.d_model),
            "positions": (self.relative_buckets, self.num_heads),
        }
        if last not in shapes:
            raise ValueError(f"{site} has no weight of its own")
        return shapes[last]


def no_t5(given: Any) -> UserError:
    """The error for a model, or a config, that deltas do not fit."""
    return UserError(f"deltas fit a T5 with a language-model head, not a {type(given).__name__}")


@lru_cache(maxsize=64)
def _sites(shape: BackboneShape) -> tuple[Site, ...]:
    """Walked once: candidates are laid out on a shape thousands of times."""
    found: list[Site] = []
    for stack in STACKS:
        outer = shape.outer_parts(stack)
        found += (Site(stack, None, part) for part in ("tokens", "embeddings", "positions") if part in outer)
        for block in range(shape.blocks(stack)):
            found += (Site(stack, block, part) for part in shape.parts(stack))
        found += (Site(stack, None, part) for part in ("final_norm", "lm_head") if part in outer)
    return tuple(found)
