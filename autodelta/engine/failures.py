"""How a trial ends before its time: one error for each way. No torch, so that the search can name them."""

from typing import Literal, NamedTuple

from autodelta.errors import UserError

GIB = 2**30


class NotFinite(ArithmeticError):
    """The loss, on train or validation, or its gradient, became NaN or infinite."""

    def __init__(self, step: int, value: float, what: str = "loss") -> None:
        super().__init__(f"the {what} is {value} at step {step}")
        self.step = step


class OutOfMemory(MemoryError):
    """The device had not enough memory, even for one row at a time."""

    def __init__(self, message: str, needed_bytes: int | None = None) -> None:
        needed = "" if needed_bytes is None else f"; at least {needed_bytes / GIB:.2f} GiB needed"
        super().__init__(message + needed)
        self.needed_bytes = needed_bytes


class OutOfTime(TimeoutError):
    """The trial was not done within the seconds that it was given."""

    def __init__(self, step: int, seconds: float) -> None:
        super().__init__(f"{seconds:.0f} s were over at step {step}")
        self.step = step


class Stalled(RuntimeError):
    """A step or an evaluation took far longer than the trial's own ones before it."""

    def __init__(self, step: int, seconds: float, what: str = "step") -> None:
        super().__init__(f"the {what} at step {step} took {seconds:.0f} s, far more than those before it")
        self.step, self.seconds = step, seconds


class Violated(ValueError):
    """A candidate needs more than a limit allows; found before any training."""

    def __init__(self, constraint: str, value: float, limit: float) -> None:
        super().__init__(f"{constraint}: {_amount(constraint, value)}, at most {_amount(constraint, limit)} allowed")
        self.constraint, self.value, self.limit = constraint, value, limit


class BrokenCheckpoint(UserError):
    """A file is no whole checkpoint: torn, damaged, missing, or something else. The trial can start afresh."""


class Ending(NamedTuple):
    """How a trial ended that raised something."""

    state: Literal["infeasible", "failed"]
    reason: str  # one line


def ending(error: Exception) -> Ending:
    """What an error makes of a trial: infeasible if the machine or a constraint has no room for it, else failed."""
    if isinstance(error, Violated):
        return Ending("infeasible", str(error))
    if isinstance(error, MemoryError):
        return Ending("infeasible", _one_line("out of memory", error))
    return Ending("failed", _one_line(type(error).__name__, error))


def _one_line(what: str, error: BaseException) -> str:
    said = str(error).strip().splitlines()
    return f"{what}: {said[0]}" if said else what


def _amount(constraint: str, value: float) -> str:
    return f"{value:.0%} of the bare backbone's time" if constraint == "latency" else f"{value / 1e9:.3g} GB"
