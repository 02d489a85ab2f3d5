"""What a search may spend: reading ``50gpu-h,3h,200trials``, and what is left of it."""

import math
import re
from typing import Any

from autodelta.errors import UserError
from autodelta.frozen import Frozen

UNIT_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0}
UNITS = (
    *(f"{device}-{unit}" for device in ("gpu", "cpu") for unit in ("h", "min", "s")),
    *("h", "min", "s"),
    "trials",
)
MOST = 1e9  # of any unit
_PART = re.compile(r"([+-]?\d+(?:\.\d+)?)\s*([a-z-]+)")

# What is kept of a wall-clock budget for the last scores on test, and for the step that runs when time is up.
FINISH_SHARE = 0.05
FINISH_MOST_SECONDS = 30.0
CONFIRM_SHARE = 0.2  # of the budget in time, kept for training the best again and scoring them on test


class Spent(Frozen):
    """What a search has used up: device-seconds held by workers, seconds of wall-clock, and trials."""

    device_seconds: float = 0.0
    wall_seconds: float = 0.0
    trials: int = 0


class Budget(Frozen):
    """Limits on a search; the first to run out ends it. A worker holds one device: a GPU or a share of it, or a CPU
    core."""

    text: str
    gpu_seconds: float | None = None
    cpu_seconds: float | None = None
    wall_seconds: float | None = None
    trials: int | None = None
    gpu_share: float = 1.0  # that a worker holds: four that hold a quarter each use up one GPU's time

    @property
    def timed(self) -> bool:
        """Whether time is limited, and not trials alone."""
        return any(limit is not None for limit in (self.gpu_seconds, self.cpu_seconds, self.wall_seconds))

    @property
    def device_seconds(self) -> float | None:
        """The tightest limit on device-seconds held by workers, a share of a GPU as one device."""
        held = None if self.gpu_seconds is None else self.gpu_seconds / self.gpu_share
        return min((limit for limit in (held, self.cpu_seconds) if limit is not None), default=None)

    @property
    def search_wall_seconds(self) -> float | None:
        """When trials must have ended: the wall-clock limit less what the end of the search needs."""
        if self.wall_seconds is None:
            return None
        return self.wall_seconds - min(FINISH_MOST_SECONDS, FINISH_SHARE * self.wall_seconds)

    def for_search(self, confirm_share: float) -> "Budget":
        """What trials may spend, with that share of the time kept for confirmation; trials are not counted there."""
        limits = {"gpu_seconds": self.gpu_seconds, "cpu_seconds": self.cpu_seconds, "wall_seconds": self.wall_seconds}
        kept = {name: limit * (1 - confirm_share) for name, limit in limits.items() if limit is not None}
        return self.model_copy(update=kept)

    def trials_left(self, spent: Spent) -> float:
        """Trials that may still be started; infinity where they are not limited."""
        return math.inf if self.trials is None else self.trials - spent.trials

    def wall_left(self, spent: Spent) -> float:
        """Seconds of wall-clock left for trials."""
        limit = self.search_wall_seconds
        return math.inf if limit is None else limit - spent.wall_seconds

    def whole_wall_left(self, spent: Spent) -> float:
        """Seconds of wall-clock left, with those that are kept for the end of the search."""
        return math.inf if self.wall_seconds is None else self.wall_seconds - spent.wall_seconds

    def device_left(self, spent: Spent) -> float:
        """Device-seconds left for trials."""
        limit = self.device_seconds
        return math.inf if limit is None else limit - spent.device_seconds

    def seconds_left(self, spent: Spent) -> float:
        """The lesser of the wall-clock and the device-seconds left."""
        return min(self.wall_left(spent), self.device_left(spent))

    def covers(self, other: "Budget") -> bool:
        """Whether every limit of it that the other has too is as large."""
        limits, least = self._limits(), other._limits()
        return all(limit >= least.get(name, 0) for name, limit in limits.items())

    def without(self, other: "Budget") -> tuple[str, ...]:
        """The kinds of limits that the other has and this one has not."""
        kinds = other._limits().keys() - self._limits().keys()
        return tuple(sorted(_spoken(name) for name in kinds))

    def share_spent(self, spent: Spent) -> float:
        """How much of the budget is gone, from 0 to 1, by the limit that is nearest."""
        pairs = (
            (spent.device_seconds, self.device_seconds),
            (spent.wall_seconds, self.wall_seconds),
            (spent.trials, self.trials),
        )
        return min(1.0, max((used / limit for used, limit in pairs if limit), default=0.0))

    def as_json(self, spent: Spent) -> dict[str, Any]:
        """Limits, spending and remainder by name; limits that were not set are left out."""
        limits = self._limits()
        used = {
            "gpu_seconds": spent.device_seconds * self.gpu_share,
            "cpu_seconds": spent.device_seconds,
            "wall_seconds": spent.wall_seconds,
            "trials": spent.trials,
        }
        return {
            "text": self.text,
            "limits": limits,
            "spent": spent.model_dump(),
            "remaining": {name: max(0, limit - used[name]) for name, limit in limits.items()},
        }

    def _limits(self) -> dict[str, float]:
        return self.model_dump(include={"gpu_seconds", "cpu_seconds", "wall_seconds", "trials"}, exclude_none=True)


def parse(text: str, *, has_gpu: bool = True, gpu_share: float = 1.0) -> Budget:
    """The budget that a text names: ``50gpu-h``, ``90gpu-min``, ``2cpu-h``, ``30min``, ``3h``, ``45s``, ``200trials``,
    or several joined by commas; ``gpu_share`` is what a worker holds of a GPU.

    Raises:
        UserError: not amounts above zero of known units, one of each kind; or GPU time where there is no GPU.
    """
    limits: dict[str, float] = {}
    for part in text.split(","):
        name, amount = _limit(part.strip().lower())
        if name == "gpu_seconds" and not has_gpu:
            raise UserError(
                f"a budget in GPU time needs a GPU: {part.strip()!r}; there is none: use cpu-h, h or trials"
            )
        if name in limits:
            raise UserError(f"a budget has one limit of each kind; {text!r} has two of {_spoken(name)}: leave one out")
        limits[name] = amount
    trials = limits.pop("trials", None)
    return Budget(text=text, **limits, trials=None if trials is None else int(trials), gpu_share=gpu_share)


def _spoken(limit: str) -> str:
    return limit.replace("_seconds", " time")


def _limit(part: str) -> tuple[str, float]:
    """One part of a budget: the name of the limit, and its seconds or trials."""
    match = _PART.fullmatch(part)
    if match is None:
        raise UserError(
            f"a budget is a number and a unit: {part!r}; for example 50gpu-h, 2cpu-h, 30min, 200trials, or 3h,200trials"
        )
    amount, unit = float(match[1]), "trials" if match[2] == "trial" else match[2]
    if unit not in UNITS:
        raise UserError(f"unknown unit {match[2]!r} in the budget {part!r}; choose from: {', '.join(UNITS)}")
    if amount <= 0:
        raise UserError(f"a budget must be above zero: {part!r}")
    if amount > MOST:
        raise UserError(f"a budget must not be above {MOST:.0e} of its unit: {part[:40]!r}")
    if unit == "trials":
        if amount != int(amount):
            raise UserError(f"a number of trials must be whole: {part!r}")
        return "trials", amount
    device, _, time_unit = unit.rpartition("-")
    return f"{device or 'wall'}_seconds", amount * UNIT_SECONDS[time_unit]
