"""Trials without Optuna: one that draws at random, and one that repeats given values."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from autodelta.errors import UserError
from autodelta.space._domain import Value

if TYPE_CHECKING:
    import numpy as np

NUMBERS = 2**31
REDRAWS = 100


class RandomTrial:
    """Draws every parameter as Optuna's random sampler does, and its number too, unless that is given."""

    def __init__(self, rng: "np.random.Generator", number: int | None = None) -> None:
        self._rng = rng
        self.number = int(rng.integers(NUMBERS)) if number is None else number
        self.user_attrs: dict[str, Any] = {}

    def set_user_attr(self, key: str, value: Any) -> None:
        self.user_attrs[key] = value

    def suggest_categorical(self, name: str, choices: Sequence[Value]) -> Value:
        return choices[int(self._rng.integers(len(choices)))]

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        if step is not None:
            return min(high, low + step * int(self._rng.integers(round((high - low) / step) + 1)))
        if log:
            return min(high, max(low, math.exp(self._rng.uniform(math.log(low), math.log(high)))))
        return float(self._rng.uniform(low, high))

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        if log:
            drawn = round(math.exp(self._rng.uniform(math.log(low - 0.5), math.log(high + 0.5))))
            return min(high, max(low, drawn))
        return low + step * int(self._rng.integers((high - low) // step + 1))


class FixedTrial:
    """Repeats the values of ``params``; what these lack comes from ``rng``, or is an error without one.

    The parameter named by ``redraw`` is drawn until it differs from its old value.
    """

    def __init__(
        self,
        params: Mapping[str, Value],
        *,
        cap: int | None = None,
        rng: "np.random.Generator | None" = None,
        redraw: str | None = None,
    ) -> None:
        self.number = 0
        self.user_attrs: dict[str, Any] = {"cap": cap}
        self.asked: set[str] = set()
        self._params = params
        self._redraw = redraw
        self._random = None if rng is None else RandomTrial(rng)

    def set_user_attr(self, key: str, value: Any) -> None:
        self.user_attrs[key] = value

    def suggest_categorical(self, name: str, choices: Sequence[Value]) -> Value:
        value = self._value(name, lambda trial: trial.suggest_categorical(name, choices))
        if value not in choices:
            raise UserError(f"{name} cannot be {value!r}; choose from: {', '.join(map(str, choices))}")
        return value

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        value = self._value(name, lambda trial: trial.suggest_float(name, low, high, step=step, log=log))
        return _within(name, value, low, high)

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        value = self._value(name, lambda trial: trial.suggest_int(name, low, high, step=step, log=log))
        return int(_within(name, value, low, high))

    def _value(self, name: str, draw: Callable[[RandomTrial], Value]) -> Value:
        self.asked.add(name)
        if name in self._params and name != self._redraw:
            return self._params[name]
        if self._random is None:
            raise UserError(f"the parameter {name!r} is missing; there are: {', '.join(self._params)}")
        for _ in range(REDRAWS):
            value = draw(self._random)
            if value != self._params.get(name):
                break
        return value


def _within(name: str, value: Value, low: float, high: float) -> float:
    if not isinstance(value, int | float) or not low <= value <= high:
        raise UserError(f"{name} must be a number from {low} to {high}, not {value!r}")
    return value
