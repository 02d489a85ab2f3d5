"""Crossings of hand-made curves, and their intervals."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from autodelta.studies.sizes.crossing import Difference, crossings, places


def at(*means: float, rows: Sequence[int] = (100, 1000, 10000), error: float = 0.001, dof: int = 8) -> list[Difference]:
    return [Difference(size, mean, error, dof) for size, mean in zip(rows, means, strict=True)]


def test_a_crossing_is_interpolated_on_log_rows() -> None:
    (found,) = crossings("A", "B", at(0.02, -0.02, -0.04))
    assert found.rows == pytest.approx(10**2.5)
    assert (found.first, found.second) == ("A", "B")  # A leads at few rows, B overtakes it
    assert found.leads == (-0.02, 0.04)
    (found,) = crossings("A", "B", at(-0.03, -0.01, 0.03))
    assert found.rows == pytest.approx(10**3.25)
    assert (found.first, found.second) == ("B", "A")
    assert found.leads == (-0.03, 0.03)


def test_where_both_score_the_same_the_crossing_lies_in_the_middle() -> None:
    (found,) = crossings("A", "B", at(0.02, 0.0, -0.04))
    assert found.rows == pytest.approx(1000)
    assert places(np.array([1.0, 2.0, 3.0, 5.0]), np.array([1.0, 0.0, 0.0, -1.0])) == [(2.5, -1)]
    assert places(np.array([1.0, 2.0, 3.0]), np.array([1.0, 0.0, 1.0])) == []
    assert places(np.array([1.0, 2.0]), np.array([0.0, 0.0])) == []


def test_two_may_overtake_each_other_more_than_once() -> None:
    back, forth = crossings("A", "B", at(0.02, -0.02, 0.02))
    assert [back.second, forth.second] == ["B", "A"]
    assert [back.rows, forth.rows] == [pytest.approx(10**2.5), pytest.approx(10**3.5)]


def test_the_interval_is_that_of_the_seeds() -> None:
    """A line through two points whose ends scatter by e: the crossing scatters by about e over the slope."""
    ends = at(0.1, -0.1, rows=(100, 10000), error=0.004, dof=10_000)
    (found,) = crossings("A", "B", ends)
    assert found.rows == pytest.approx(1000)
    assert found.low is not None
    assert found.high is not None
    reach = 1.645 * 0.004 * math.sqrt(0.5) / 0.1 * math.log(10)  # half a decade's error at the middle, times the slope
    assert math.log(found.high / 1000) == pytest.approx(reach, rel=0.06)
    assert math.log(1000 / found.low) == pytest.approx(reach, rel=0.06)
    assert found.chance == 1.0
    (wide,) = crossings("A", "B", at(0.1, -0.1, rows=(100, 10000), error=0.004, dof=2))
    assert wide.low is not None
    assert wide.low < found.low


def test_an_interval_that_leaves_what_was_looked_at_is_open() -> None:
    (found,) = crossings("A", "B", at(0.05, 0.04, -0.002, error=0.01))
    assert found.low is not None
    assert found.low > 1000
    assert found.high is None
    assert found.chance is not None
    assert 0.4 < found.chance < 0.7
    (early,) = crossings("A", "B", at(0.002, -0.04, -0.05, error=0.01))
    assert early.low is None
    assert early.high is not None


def test_no_crossing_is_said_with_who_leads_and_its_chance() -> None:
    (found,) = crossings("A", "B", at(-0.03, -0.02, -0.04, error=0.002))
    assert (found.first, found.second, found.rows) == ("B", "A", None)
    assert found.leads == (-0.03, -0.04)
    assert found.chance == pytest.approx(0.0, abs=1e-3)
    (unsure,) = crossings("A", "B", at(0.01, 0.01, 0.01, error=0.02))
    assert unsure.rows is None
    assert unsure.chance is not None
    assert unsure.chance > 0.3


def test_too_few_seeds_give_no_interval_and_one_size_no_crossing() -> None:
    (found,) = crossings("A", "B", at(0.02, -0.02, -0.04, dof=0))
    assert found.rows == pytest.approx(10**2.5)
    assert (found.low, found.high, found.chance) == (None, None, None)
    assert crossings("A", "B", at(0.02, rows=(100,))) == ()
