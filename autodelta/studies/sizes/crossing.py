"""Where one composition overtakes another as labelled data grows, and how sure the seeds are of that.

The difference of two mean test scores, at equal seeds, is known at a few train sizes; between two of them it is taken
to be a straight line over log rows. Where it changes its sign, one overtakes the other. The interval comes from draws
of the differences: at each size around the mean over seeds, by Student's t with the spread between seeds (paired,
moderated as in ``search.answer``). Why not from the seeds themselves, drawn again: docs/decisions/0021.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from autodelta.frozen import Frozen
from autodelta.search.answer.results import Confirmed
from autodelta.search.answer.select import LEVEL, gap

DRAWS = 4000

Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


class Difference(NamedTuple):
    """Of two compositions at one train size: the first's mean test score less the second's, at equal seeds."""

    rows: int
    mean: float
    error: float  # of the mean
    dof: float  # of the spread between seeds; 0: nothing is known of it


class Crossing(Frozen):
    """Two compositions, of which ``first`` leads at fewer rows, or throughout if ``rows`` is None."""

    first: str
    second: str
    span: tuple[int, int]  # the smallest and the largest train size at which both were scored
    leads: tuple[float, float]  # the second's test score less the first's, at both ends of the span
    rows: float | None = None  # from here on the second leads
    low: float | None = None  # ends of the interval; None: it reaches beyond the span
    high: float | None = None
    chance: float | None = None  # the share of draws with such a crossing within the span; None: too few seeds to say


def differences(runs: Mapping[int, Sequence[Confirmed]], first: str, second: str) -> list[Difference]:
    """Of two compositions, by rising train size (the keys), where they have test scores at the same seeds."""
    found = []
    for rows, confirmed in sorted(runs.items()):
        between = gap(confirmed, first, second, split="test")
        if between is not None:
            found.append(Difference(rows, between.mean, between.error, between.spread.dof))
    return found


def crossings(
    first: str, second: str, at: Sequence[Difference], *, level: float = LEVEL, seed: int = 0
) -> tuple[Crossing, ...]:
    """Every overtaking between two compositions, from few rows to many; one without rows where there is none.

    at: differences of ``first`` less ``second``, by rising train size; nothing comes of fewer than two.
    """
    if len(at) < 2:
        return ()
    x, means = np.log([one.rows for one in at]), np.array([one.mean for one in at])
    drawn = _drawn(at, seed)
    found = places(x, means)
    if found:
        return tuple(_crossing(first, second, at, place, sign, drawn, level) for place, sign in found)
    ahead = 1 if means.sum() >= 0 else -1
    chance = None if drawn is None else float(np.mean([bool(places(x, one)) for one in drawn]))
    return (_between(first, second, at, sign=-ahead).model_copy(update={"chance": chance}),)


def places(x: Floats, difference: Floats) -> list[tuple[float, int]]:
    """Where a difference (sizes,), given at rising places (sizes,), changes its sign, and the sign that it then has.

    On the line between two places; where it is zero at places in between, in their middle.
    """
    found = []
    for left, right in itertools.pairwise(np.flatnonzero(difference)):
        if difference[left] * difference[right] > 0:
            continue
        if right == left + 1:
            share = difference[left] / (difference[left] - difference[right])
            place = x[left] + share * (x[right] - x[left])
        else:
            place = (x[left + 1] + x[right - 1]) / 2
        found.append((float(place), 1 if difference[right] > 0 else -1))
    return found


def _drawn(at: Sequence[Difference], seed: int) -> Floats | None:
    """(draws, sizes) differences as other seeds would have given them."""
    if not all(one.dof for one in at):
        return None
    rng = np.random.default_rng(seed)
    return np.stack([one.mean + one.error * rng.standard_t(one.dof, DRAWS) for one in at], axis=1)


def _between(first: str, second: str, at: Sequence[Difference], *, sign: int) -> Crossing:
    """The pair in its order; sign: 1 where the difference of first less second rises, so that the first comes later."""
    names = (second, first) if sign > 0 else (first, second)
    leads = (at[0].mean * sign, at[-1].mean * sign)
    return Crossing(first=names[0], second=names[1], span=(at[0].rows, at[-1].rows), leads=leads)


def _crossing(
    first: str,
    second: str,
    at: Sequence[Difference],
    place: float,
    sign: int,
    drawn: Floats | None,
    level: float,
) -> Crossing:
    """One overtaking with its interval.

    A draw in which nobody overtakes this way counts as one beyond the sizes that were looked at: before the smallest if
    the later one leads at the end, else after the largest.
    """
    known = _between(first, second, at, sign=sign).model_copy(update={"rows": math.exp(place)})
    if drawn is None:
        return known
    x = np.log([one.rows for one in at])
    where = [_nearest(places(x, one), place, sign, ends_ahead=one[-1] * sign > 0) for one in drawn]
    # no interpolation, since it is not defined between a number and infinity
    low, high = np.quantile(where, [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf")
    return known.model_copy(
        update={
            "low": math.exp(low) if math.isfinite(low) else None,
            "high": math.exp(high) if math.isfinite(high) else None,
            "chance": float(np.isfinite(where).mean()),
        }
    )


def _nearest(found: Sequence[tuple[float, int]], place: float, sign: int, *, ends_ahead: bool) -> float:
    """Of a draw's overtakings this way, the one nearest to the place."""
    same = [one for one, way in found if way == sign]
    if same:
        return min(same, key=lambda one: abs(one - place))
    return -math.inf if ends_ahead else math.inf
