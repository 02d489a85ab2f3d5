"""Which train sizes there can be, and how a budget is shared out over them."""

import itertools
from typing import Any

import numpy as np
import pytest

from autodelta.engine.assignment import TRAIN_ROWS_SEED
from autodelta.errors import UserError
from autodelta.search.budget import parse
from autodelta.studies.sizes.asked import ordered, read_sizes, shares
from tests.studies.sizes import sized
from tests.studies.sizes.sized import TRAIN_ROWS


def test_sizes_come_in_order_and_the_whole_of_train_is_its_rows() -> None:
    assert ordered(read_sizes("100, all,10"), sized.task()) == (10, 100, TRAIN_ROWS)
    assert ordered((TRAIN_ROWS, 2), sized.task()) == (2, TRAIN_ROWS)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("100,many", "a whole number of rows, or all: 'many'"),
        ("1e3,all", "a whole number of rows, or all: '1e3'"),
        ("-5,all", "a whole number of rows, or all: '-5'"),
        ("100,,all", "a whole number of rows, or all: ''"),
        ("1,all", "must be at least 2: 1; choose from 2 to 400, or all"),
        ("100,100", "every train size stands once: 100"),
        ("400,all", "every train size stands once: 400 and all are both 400 rows"),
        ("100,401", "fake has 400 rows of train: 401; choose from 2 to 400, or all"),
        ("all", "needs two or more: all"),
    ],
)
def test_a_size_that_cannot_be_is_one_line(text: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        ordered(read_sizes(text), sized.task())


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ((100, "al"), "a whole number of rows, or all: 'al'"),
        ((100, 2.5), "a whole number of rows, or all: 2.5"),
        ((100, None), "a whole number of rows, or all: None"),
        ("100,all", "train sizes are a list of numbers of rows, or all: '100,all'"),
        (100, "train sizes are a list of numbers of rows, or all: 100"),
    ],
)
def test_a_size_from_python_that_is_none_is_one_line(sizes: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        ordered(sizes, sized.task())


def test_sizes_may_be_numbers_of_numpy() -> None:
    assert ordered(tuple(np.array([50, 10])), sized.task()) == (10, 50)


def test_a_study_of_no_size_is_one_line() -> None:
    with pytest.raises(UserError, match="needs two or more: none is named; for example 20,all"):
        ordered((), sized.task())


def test_every_size_must_show_each_label() -> None:
    task = sized.task(labels=("a", "b", "c", "d"))
    assert ordered((4, 50), task) == (4, 50)
    with pytest.raises(UserError, match="must show each of its 4 labels once: 3; choose from 4 to 400, or all"):
        ordered((3, 50), task)


def test_a_larger_size_holds_the_rows_of_a_smaller_one() -> None:
    task = sized.task(labels=("a", "b", "c"))
    drawn = [set(task.limited(rows, TRAIN_ROWS_SEED).rows["train"]) for rows in (3, 10, 11, 150, TRAIN_ROWS)]
    assert [len(rows) for rows in drawn] == [3, 10, 11, 150, TRAIN_ROWS]
    assert all(small < large for small, large in itertools.pairwise(drawn))


@pytest.mark.parametrize(
    ("budget", "confirm_share", "each"),
    [
        ("2cpu-h", 0.2, ("36cpu-min",) * 3),
        ("20trials", 0.2, ("7trials", "7trials", "6trials")),
        ("3h,9gpu-h", 0.0, ("3gpu-h,1h",) * 3),
        ("1cpu-min,4trials", 0.2, ("18cpu-s,2trials", "18cpu-s,1trials", "18cpu-s,1trials")),
        ("10s", 0.5, ("2.5s",) * 3),
    ],
)
def test_a_budget_is_shared_out_evenly(budget: str, confirm_share: float, each: tuple[str, ...]) -> None:
    assert shares(budget, confirm_share, 3).each == each


def test_no_share_is_lost_and_trials_get_as_much_of_the_time_as_without_sizes() -> None:
    for budget, share in (("7cpu-h", 0.2), ("100s", 0.35), ("50gpu-h", 0.1)):
        found, whole = shares(budget, share, 3), parse(budget)
        parts = [parse(text).for_search(found.confirm_share) for text in found.each]
        for limit in ("cpu_seconds", "gpu_seconds", "wall_seconds"):
            asked = getattr(whole.for_search(share), limit)
            if asked is not None:
                assert sum(getattr(part, limit) for part in parts) == pytest.approx(asked, rel=1e-3)
    assert shares("20trials", 0.2, 3).confirm_share == 0.2


def test_fewer_trials_than_sizes_are_refused() -> None:
    with pytest.raises(UserError, match="3 train sizes need a trial each: '2trials'; choose 3trials or more"):
        shares("2trials", 0.2, 3)
