"""What a space's YAML file may say, as pydantic models."""

import re
from fractions import Fraction
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from autodelta.frozen import Frozen
from autodelta.limits import Limits
from autodelta.space._domain import Choices, domain

NUMBER = r"<=\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*"
BOUND = re.compile(NUMBER + "(%|k|M)?")
UNITS = {None: 1, "k": 10**3, "M": 10**6}
MEMORY = re.compile(NUMBER + "([MGT])(i?)B")
POWERS = {"M": 2, "G": 3, "T": 4}
LATENCY = re.compile(NUMBER + "%")


def _words(raw: Any) -> tuple[str, ...]:
    found = domain(raw)
    if not isinstance(found, Choices):
        raise ValueError("must be a list of choices, not a range")
    for value in found.values:
        if not isinstance(value, str | int) or isinstance(value, bool):
            raise ValueError(f"must be words, not {value!r}")
    return tuple(str(value) for value in found.values)


class Bound(Frozen):
    """The most parameters a candidate may train: a number of them, or a share of the backbone's."""

    text: str
    number: Fraction
    share: bool

    @classmethod
    def read(cls, raw: Any) -> "Bound":
        match = BOUND.fullmatch(raw.strip()) if isinstance(raw, str) else None
        if match is None:
            raise ValueError(f"must read like '<= 1%', '<= 50k' or '<= 2.5M', not {raw!r}")
        share = match[2] == "%"
        return cls(
            text=raw.strip(),
            number=Fraction(match[1]) / 100 if share else Fraction(match[1]) * UNITS[match[2]],
            share=share,
        )

    def parameters(self, backbone: int) -> int:
        """The bound as a number, on a backbone of that many parameters."""
        return int(self.number * backbone if self.share else self.number)


def _bytes(raw: Any) -> int:
    match = MEMORY.fullmatch(raw.strip()) if isinstance(raw, str) else None
    if match is None:
        raise ValueError(f"must read like '<= 4GB', '<= 800MB' or '<= 4GiB', not {raw!r}")
    return int(Fraction(match[1]) * (1024 if match[3] else 1000) ** POWERS[match[2]])


def _share(raw: Any) -> float:
    match = LATENCY.fullmatch(raw.strip()) if isinstance(raw, str) else None
    if match is None:
        raise ValueError(f"must read like '<= 110%', of the bare backbone's time for a batch, not {raw!r}")
    share = Fraction(match[1]) / 100
    if share < 1:
        raise ValueError(f"must be at least 100%, the bare backbone's own time for a batch, not {raw!r}")
    return float(share)


Gene = Annotated[Any, BeforeValidator(domain)]
Words = Annotated[tuple[str, ...], BeforeValidator(_words)]


class MethodPlan(Frozen):
    """What one method may be."""

    learning_rate: Gene
    stacks: Words = ("both",)
    blocks: Words = ("all",)
    roles: Words = ("all",)
    sizes: dict[str, Gene] = Field(default_factory=dict)


class Constraints(Frozen):
    """What every candidate must keep to."""

    trainable_parameters: Annotated[Bound | None, BeforeValidator(Bound.read)] = None
    memory: Annotated[int | None, BeforeValidator(_bytes)] = None  # bytes, at the largest training batch
    latency: Annotated[float | None, BeforeValidator(_share)] = None  # of the bare backbone's time for a batch

    @property
    def limits(self) -> Limits:
        """What only a worker can check, on its device."""
        return Limits(memory_bytes=self.memory, latency_share=self.latency)


class Plan(Frozen):
    """A search space, not yet bound to a backbone."""

    description: str = ""
    methods: dict[str, MethodPlan]
    training: dict[str, Gene]
    at_most: int | None = Field(None, ge=1)
    constraints: Constraints = Constraints()

    @property
    def cap(self) -> int:
        """How many methods may be on at once."""
        return self.at_most or len(self.methods)
