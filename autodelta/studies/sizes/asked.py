"""What a size study is asked: which train sizes, and how the budget is shared out over them."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from autodelta.errors import UserError
from autodelta.search.budget import UNIT_SECONDS, Budget, parse
from autodelta.tasks import Task

ALL: Literal["all"] = "all"
LEAST_ROWS = 2
MATRIX_SHARE = 0.5  # of the confirmation share: for training the winners of all sizes at every other one
TRIALS = "trials"

Size = int | Literal["all"]


def read_sizes(text: str) -> tuple[Size, ...]:
    """The sizes that a text names: ``100,1000,all``.

    Raises:
        UserError: a part of it is neither a number of rows nor all.
    """
    return tuple(_size(part.strip()) for part in text.split(","))


def _size(part: str) -> Size:
    if part == ALL:
        return ALL
    if not (part.isascii() and part.isdigit()):
        raise _no_size(part)
    return int(part)


def _no_size(value: object) -> UserError:
    return UserError(f"a train size is a whole number of rows, or {ALL}: {value!r}; for example 100,1000,{ALL}")


def ordered(sizes: Sequence[Size], task: Task) -> tuple[int, ...]:
    """The rows of train of each size, from the smallest; the whole of train counts as all its rows.

    Raises:
        UserError: a size stands twice, cannot show every label, or is more than there is; or there is only one, or
            what is given is none.
    """
    if isinstance(sizes, str) or not isinstance(sizes, Sequence):
        raise UserError(f"train sizes are a list of numbers of rows, or {ALL}: {sizes!r}; for example (100, {ALL!r})")
    whole = len(task.rows["train"])
    least = max(LEAST_ROWS, 1 if task.ordinal else len({task.stratum(row.label) for row in task.rows["train"]}))
    found: dict[int, Size] = {}
    for size in sizes:
        if size != ALL and (isinstance(size, bool) or not hasattr(size, "__index__")):
            raise _no_size(size)
        if size != ALL and size < least:
            why = f" show each of its {least} labels once" if least > LEAST_ROWS else f" be at least {LEAST_ROWS}"
            raise UserError(f"a train size of {task.name} must{why}: {size}; choose from {least} to {whole}, or {ALL}")
        if size != ALL and size > whole:
            raise UserError(f"{task.name} has {whole} rows of train: {size}; choose from {least} to {whole}, or {ALL}")
        rows = whole if size == ALL else int(size)
        if rows in found:
            raise UserError(
                f"every train size stands once: {_twice(found[rows], size, rows)}; name another, or leave it out"
            )
        found[rows] = size
    if len(found) < 2:
        named = sizes[0] if sizes else "none is named"
        raise UserError(f"a study over train sizes needs two or more: {named}; for example {least * 10},{ALL}")
    return tuple(sorted(found))


def _twice(first: Size, second: Size, rows: int) -> str:
    return str(first) if first == second else f"{first} and {second} are both {rows} rows"


class Shares(NamedTuple):
    """How a budget is shared out."""

    each: tuple[str, ...]  # a budget for each size, from the smallest
    confirm_share: float  # of each
    line: str  # the same for people


def shares(budget: str, confirm_share: float, number: int) -> Shares:
    """Each size's share of a budget: trials, wall-clock and device time evenly, the first sizes with a trial more where
    they do not come out even. Half of the confirmation share of the time stays with the study, for the winners at the
    other sizes.

    Raises:
        UserError: fewer trials than sizes.
    """
    asked = parse(budget)
    if asked.trials is not None and asked.trials < number:
        raise UserError(f"{number} train sizes need a trial each: {budget!r}; choose {number}trials or more")
    kept = confirm_share * MATRIX_SHARE if asked.timed else 0.0
    each = tuple(_share(asked, number, place, kept) for place in range(number))
    line = f"budget {budget}: {_spoken(each)} for each of {number} train sizes"
    if kept:
        line += f", and {kept:.0%} of the time for the winners at the other sizes"
    return Shares(each, round(1 - (1 - confirm_share) / (1 - kept), 12), line)


def _share(asked: Budget, number: int, place: int, kept: float) -> str:
    limits = {"gpu-": asked.gpu_seconds, "cpu-": asked.cpu_seconds, "": asked.wall_seconds}
    parts = [_amount(limit * (1 - kept) / number, device) for device, limit in limits.items() if limit is not None]
    if asked.trials is not None:
        parts.append(f"{asked.trials // number + (place < asked.trials % number)}{TRIALS}")
    return ",".join(parts)


def _amount(seconds: float, device: str) -> str:
    """So much time as a budget says it, in the largest unit in which it is a short number."""
    whole = round(seconds, 3)
    for unit in ("h", "min"):
        if whole >= UNIT_SECONDS[unit] and (whole * 10 / UNIT_SECONDS[unit]).is_integer():
            return f"{_plain(whole / UNIT_SECONDS[unit])}{device}{unit}"
    return f"{_plain(whole)}{device}s"


def _plain(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".")


def _spoken(each: Sequence[str]) -> str:
    return each[0] if len(set(each)) == 1 else f"{each[0]} to {each[-1]}"
