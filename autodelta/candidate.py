"""A candidate: which deltas at which roles, at which sizes, trained how. Frozen, hashable, JSON; no torch."""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal, Self

from pydantic import Field, SerializeAsAny, field_validator, model_validator

from autodelta.deltas.spec import MethodConfig, spec
from autodelta.errors import UserError
from autodelta.frozen import Frozen
from autodelta.shape import STACKS, BackboneShape, Site

TOGETHER = "together"
THEN = " > "
Loss = Literal["text", "labels"]
TEXT: Loss = "text"


class Delta(Frozen):
    """One method at some roles, in some blocks, at one size; all its sites train at one learning rate."""

    method: str
    roles: tuple[str, ...] = Field(min_length=1)
    encoder_blocks: tuple[int, ...] | None = None  # None: all blocks
    decoder_blocks: tuple[int, ...] | None = None
    config: SerializeAsAny[MethodConfig]
    learning_rate: float = Field(gt=0)

    @model_validator(mode="before")
    @classmethod
    def _typed_config(cls, data: Any) -> Any:
        """The method decides which fields its config has."""
        named = isinstance(data, dict) and isinstance(data.get("method"), str)
        if named and not isinstance(data.get("config"), MethodConfig):
            return {**data, "config": spec(data["method"]).config.model_validate(data.get("config", {}))}
        return data

    @field_validator("roles")
    @classmethod
    def _sorted_roles(cls, roles: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(sorted(set(roles)))

    @field_validator("encoder_blocks", "decoder_blocks")
    @classmethod
    def _sorted_blocks(cls, blocks: tuple[int, ...] | None) -> tuple[int, ...] | None:
        return None if blocks is None else tuple(sorted(set(blocks)))

    @model_validator(mode="after")
    def _known_parts(self) -> Self:
        accepted = spec(self.method).parts
        for role in self.roles:
            stack, _, part = role.partition(".")
            if stack not in STACKS or part not in accepted:
                raise ValueError(
                    f"{self.method} cannot stand at {role!r}; choose a stack ({', '.join(STACKS)}) "
                    f"and one of: {', '.join(sorted(accepted))}"
                )
        return self

    @property
    def where(self) -> str:
        """Its roles in few words: ``encoder, decoder: self_attn.q/v; decoder: cross_attn.q/v``."""
        parts: dict[str, dict[str, list[str]]] = {}  # by sublayer, by stack
        for role in self.roles:
            stack, _, part = role.partition(".")
            sublayer, _, last = part.rpartition(".")
            parts.setdefault(sublayer or last, {}).setdefault(stack, []).extend([last] if sublayer else [])
        found: dict[tuple[str, ...], list[str]] = {}
        for sublayer, stacks in parts.items():
            for names in dict.fromkeys(map(tuple, stacks.values())):
                holding = tuple(stack for stack in STACKS if stacks.get(stack) == list(names))
                found.setdefault(holding, []).append(".".join(filter(None, (sublayer, "/".join(names)))))
        ordered = sorted(found, key=lambda stacks: (-len(stacks), [STACKS.index(stack) for stack in stacks]))
        return "; ".join(f"{', '.join(stacks)}: {', '.join(found[stacks])}" for stacks in ordered)

    def sites(self, shape: BackboneShape) -> tuple[Site, ...]:
        """The places where this delta stands on a backbone, from input to output.

        Raises:
            ValueError: the backbone lacks a role or a block that the delta names, or nothing is left.
        """
        return _sites(self.method, self.roles, self.encoder_blocks, self.decoder_blocks, shape)

    def count_parameters(self, hf_config: Any) -> int:
        """Trainable parameters on a backbone of that config or shape, without building anything."""
        shape = BackboneShape.of(hf_config)
        place = (self.method, self.roles, self.encoder_blocks, self.decoder_blocks)
        return _counted(place, self.config, shape)


_Place = tuple[str, tuple[str, ...], tuple[int, ...] | None, tuple[int, ...] | None]  # method, roles, blocks


# A space has few places and not many sizes, and its candidates are laid out and counted thousands of times.


@lru_cache(maxsize=4096)
def _counted(place: _Place, config: MethodConfig, shape: BackboneShape) -> int:
    return spec(place[0]).count(_sites(*place, shape), config, shape)


@lru_cache(maxsize=1024)
def _sites(
    method: str,
    roles: tuple[str, ...],
    encoder_blocks: tuple[int, ...] | None,
    decoder_blocks: tuple[int, ...] | None,
    shape: BackboneShape,
) -> tuple[Site, ...]:
    kinds = shape.kinds()
    for role in roles:
        if role not in kinds:
            raise UserError(f"the backbone has no role {role!r} (needed by {method})")
    blocks = {"encoder": encoder_blocks, "decoder": decoder_blocks}
    for stack in STACKS:
        beyond = [block for block in blocks[stack] or () if not 0 <= block < shape.blocks(stack)]
        if beyond:
            raise UserError(f"the backbone's {stack} has blocks 0-{shape.blocks(stack) - 1}, not {beyond[0]}")
    found = tuple(
        site
        for site in shape.sites()
        if site.role in roles and (site.block is None or _within(site.block, blocks[site.stack]))
    )
    if not found:
        raise UserError(f"{method} stands nowhere: its blocks and roles have no site in common")
    return found


def _within(block: int, blocks: tuple[int, ...] | None) -> bool:
    return blocks is None or block in blocks


class Training(Frozen):
    """How a candidate is trained; learning rates belong to its deltas."""

    steps: int = Field(gt=0)
    batch_size: int = Field(gt=0)
    warmup: float = Field(0.06, ge=0, le=1)  # share of the steps over which the learning rate rises
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    weight_decay: float = Field(0.0, ge=0)
    # Methods in the order in which they are put on and trained, as "prompt > bitfit"; the others follow at the end.
    sequence: str = TOGETHER
    # What is lowered: the cross-entropy of the label's whole text, or of the label among the task's labels alone.
    loss: Loss = TEXT

    @field_validator("sequence")
    @classmethod
    def _known_methods(cls, sequence: str) -> str:
        if sequence != TOGETHER:
            names = sequence.split(THEN)
            for name in names:
                spec(name)
            if len(set(names)) < len(names):
                raise ValueError(f"a method stands once in a sequence: {sequence!r}")
        return sequence


class Candidate(Frozen):
    """The genotype of a trial. Two candidates that do the same compare equal, whatever the order of their deltas."""

    deltas: tuple[Delta, ...] = Field(min_length=1)
    training: Training

    @field_validator("deltas")
    @classmethod
    def _ordered(cls, deltas: tuple[Delta, ...]) -> tuple[Delta, ...]:
        several = len({delta.method for delta in deltas}) < len(deltas)
        return tuple(
            sorted(
                deltas,
                key=lambda d: (spec(d.method).order, d.method, *((d.roles, d.model_dump_json()) if several else ())),
            )
        )

    @property
    def methods(self) -> tuple[str, ...]:
        """The names of its methods, each once, in the order in which they are applied."""
        return tuple(dict.fromkeys(delta.method for delta in self.deltas))

    @property
    def phases(self) -> tuple[tuple[Delta, ...], ...]:
        """The deltas that are trained together, phase by phase; one phase unless the training names a sequence."""
        order = [] if self.training.sequence == TOGETHER else self.training.sequence.split(THEN)
        named = [tuple(delta for delta in self.deltas if delta.method == name) for name in order]
        return tuple(phase for phase in (*named, tuple(d for d in self.deltas if d.method not in order)) if phase)

    @property
    def key(self) -> str:
        """A short name that is the same for equal candidates."""
        # What came later is not said where it is not used: candidates keep the names that records have for them.
        unsaid = {"training": {"loss"}} if self.training.loss == TEXT else None
        return hashlib.sha256(self.model_dump_json(exclude=unsaid).encode()).hexdigest()[:12]

    def check(self, hf_config: Any) -> None:
        """Raises UserError where the candidate does not fit the backbone, or puts one method twice at one site."""
        shape = BackboneShape.of(hf_config)
        taken: set[tuple[str, Site]] = set()
        for delta in self.deltas:
            sites: Sequence[Site] = delta.sites(shape)
            spec(delta.method).check(sites, delta.config, shape)
            for site in sites:
                if (delta.method, site) in taken:
                    raise UserError(f"two values for one slot: {delta.method} stands twice at {site}")
                taken.add((delta.method, site))

    def count_parameters(self, hf_config: Any) -> int:
        """Trainable parameters on a backbone of that config or shape, without building anything."""
        return sum(delta.count_parameters(hf_config) for delta in self.deltas)
