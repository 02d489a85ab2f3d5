"""What a space's YAML file may say, as pydantic models."""

import re
from fractions import Fraction
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from autodelta.space._domain import Choices, domain

BOUND = re.compile(r"<=\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*(%|k|M)?")
UNITS = {None: 1, "k": 10**3, "M": 10**6}


def _words(raw: Any) -> tuple[str, ...]:
    found = domain(raw)
    if not isinstance(found, Choices):
        raise ValueError("must be a list of choices, not a range")
    for value in found.values:
        if not isinstance(value, str | int) or isinstance(value, bool):
            raise ValueError(f"must be words, not {value!r}")
    return tuple(str(value) for value in found.values)


class Bound(BaseModel):
    """The most parameters a candidate may train: a number of them, or a share of the backbone's."""

    model_config = ConfigDict(frozen=True)

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


Gene = Annotated[Any, BeforeValidator(domain)]
Words = Annotated[tuple[str, ...], BeforeValidator(_words)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class MethodPlan(_Frozen):
    """What one method may be."""

    learning_rate: Gene
    stacks: Words = ("both",)
    blocks: Words = ("all",)
    roles: Words = ("all",)
    sizes: dict[str, Gene] = Field(default_factory=dict)


class Constraints(_Frozen):
    """What every candidate must keep to."""

    trainable_parameters: Annotated[Bound | None, BeforeValidator(Bound.read)] = None


class Plan(_Frozen):
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
