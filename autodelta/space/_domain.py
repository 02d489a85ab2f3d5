"""What one gene may be: choices, or a range of numbers. Asked of a trial, listed, and stepped down."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeGuard

from pydantic import ConfigDict

from autodelta.frozen import Frozen

Value = bool | int | float | str | None
FORMS = "a value, a list of choices, or {low, high, log, step}"
SHRINK = 0.8  # a range is stepped down by a fifth: some 20 steps from 100 to 1
LEAST_STEP = 0.05  # and by no less than this share of a range that is not on a log scale


class Trial(Protocol):
    """What a space asks of a trial: ``optuna.Trial`` has it, and so have the ones in ``_trials.py``."""

    @property
    def number(self) -> int: ...

    @property
    def user_attrs(self) -> dict[str, Any]: ...

    def set_user_attr(self, key: str, value: Any) -> None: ...

    def suggest_categorical(self, name: str, choices: Sequence[Value]) -> Value: ...

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float: ...

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int: ...


class _Domain(Frozen):
    model_config = ConfigDict(arbitrary_types_allowed=True)


class Choices(_Domain):
    """One of these values; a single one is a constant, and is not asked for."""

    values: tuple[Value, ...]

    @property
    def constant(self) -> bool:
        """Whether there is nothing to ask for."""
        return len(self.values) == 1

    def ask(self, trial: Trial, name: str) -> Value:
        return self.values[0] if self.constant else trial.suggest_categorical(name, self.values)

    def contains(self, value: Value) -> bool:
        return any(_same(value, choice) for choice in self.values)

    def listed(self) -> Sequence[Value] | None:
        """Every value; None if there are endlessly many."""
        return self.values

    def bounds(self) -> tuple[float, float] | None:
        """The lowest and highest value; None where values have no order."""
        numbers = [value for value in self.values if _is_number(value)]
        return (min(numbers), max(numbers)) if len(numbers) == len(self.values) else None

    def below(self, value: float) -> float | None:
        """The next lower value; None at the lowest."""
        lower = [choice for choice in self.values if _is_number(choice) and choice < value]
        return max(lower) if lower else None


class Range(_Domain):
    """A number from ``low`` to ``high``, both included, of whole numbers where both are whole."""

    low: int | float
    high: int | float
    log: bool = False
    step: int | float | None = None

    @property
    def constant(self) -> bool:
        """Whether there is nothing to ask for: never, as a range is no single value."""
        return False

    @property
    def whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    def ask(self, trial: Trial, name: str) -> Value:
        if self.whole:
            return trial.suggest_int(name, int(self.low), int(self.high), step=int(self.step or 1), log=self.log)
        return trial.suggest_float(name, self.low, self.high, step=self.step, log=self.log)

    def contains(self, value: Value) -> bool:
        if not _is_number(value) or not self.low <= value <= self.high or (self.whole and value != int(value)):
            return False
        return self.step is None or _is_multiple(value - self.low, self.step)

    def listed(self) -> Sequence[Value] | None:
        """Every value; None if there are endlessly many, as in a range on a log scale or without a step."""
        step = self.step or (1 if self.whole else None)
        if self.log or step is None:
            return None
        if self.whole:  # which may be millions, and take no room
            return range(int(self.low), int(self.high) + 1, int(step))
        steps = round((self.high - self.low) / step)
        return tuple(min(self.high, self.low + number * step) for number in range(steps + 1))  # 0.1 + 2 * 0.1 > 0.3

    def bounds(self) -> tuple[float, float] | None:
        """The lowest and highest value."""
        return self.low, self.high

    def below(self, value: float) -> float | None:
        """A value about a fifth lower; None at the lowest."""
        if value <= self.low:
            return None
        step = self.step or (1 if self.whole else None)
        if step is None:
            even = 0.0 if self.log else (self.high - self.low) * LEAST_STEP
            return max(self.low, min(value * SHRINK, value - even))
        steps = round((value - self.low) / step)
        kept = math.floor((value * SHRINK - self.low) / step)
        return self.low + max(0, min(kept, steps - 1)) * step


Domain = Choices | Range


def domain(raw: Any) -> Domain:
    """Reads a gene as a YAML file writes it.

    Raises:
        ValueError: it has another form, no choices, or an empty range.
    """
    if isinstance(raw, Choices | Range):
        return raw
    if isinstance(raw, Mapping):
        return _range(raw)
    values = tuple(raw) if isinstance(raw, list) else (raw,)
    if not values:
        raise ValueError("no choices; name at least one")
    for number, value in enumerate(values):
        if isinstance(value, list | dict) or (value is None and not isinstance(raw, list)):
            raise ValueError(f"must be {FORMS}, not {'nothing' if value is None else value}")
        if any(_same(value, other) for other in values[:number]):
            raise ValueError(f"the choice {value!r} stands twice")
    return Choices(values=values)


def _range(raw: Mapping[str, Any]) -> Range:
    unknown = [key for key in raw if key not in Range.model_fields]
    if unknown:
        raise ValueError(f"unknown key {unknown[0]!r} in a range; choose from: {', '.join(Range.model_fields)}")
    for key in ("low", "high"):
        if not _is_number(raw.get(key)):
            raise ValueError(f"a range needs a number as {key!r}, not {raw.get(key)!r}")
    if not isinstance(raw.get("log", False), bool):
        raise ValueError(f"log must be true or false, not {raw['log']!r}")
    step = raw.get("step")
    if step is not None and (not _is_number(step) or step <= 0):
        raise ValueError(f"step must be a number above 0, not {step!r}")
    found = Range(low=raw["low"], high=raw["high"], log=raw.get("log", False), step=step)
    if not found.low < found.high:
        raise ValueError(f"low must be below high, not {found.low} and {found.high}")
    if found.log and found.low <= 0:
        raise ValueError(f"a range on a log scale must start above 0, not at {found.low}")
    if found.log and step is not None:
        raise ValueError("a range on a log scale has no step")
    if step is not None and not _is_multiple(found.high - found.low, step):
        raise ValueError(f"high must be a whole number of steps above low: {found.low} to {found.high} by {step}")
    return found


def of_reals(found: Domain) -> Domain:
    """The same domain for a gene that is a real number, also where its bounds are written as whole ones."""
    if isinstance(found, Choices):
        return found
    return found.model_copy(update={"low": float(found.low), "high": float(found.high)})


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_multiple(distance: float, step: float) -> bool:
    return math.isclose(distance / step, round(distance / step), abs_tol=1e-9)


def _same(left: Value, right: Value) -> bool:
    return left == right and isinstance(left, bool) == isinstance(right, bool)
