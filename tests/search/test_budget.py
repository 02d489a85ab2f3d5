import math

import pytest

from autodelta.errors import UserError
from autodelta.search.budget import Spent, parse


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("50gpu-h", {"gpu_seconds": 180_000}),
        ("90gpu-min", {"gpu_seconds": 5400}),
        ("2cpu-h", {"cpu_seconds": 7200}),
        ("30min", {"wall_seconds": 1800}),
        ("3h", {"wall_seconds": 10_800}),
        ("45s", {"wall_seconds": 45}),
        ("1.5h", {"wall_seconds": 5400}),
        ("200trials", {"trials": 200}),
        ("1trial", {"trials": 1}),
        ("3h, 200 trials", {"wall_seconds": 10_800, "trials": 200}),
    ],
)
def test_a_budget_is_read_as_limits(text: str, limits: dict[str, float]) -> None:
    assert parse(text).as_json(Spent())["limits"] == limits


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0min", "must be above zero: '0min'"),
        ("-3h", "must be above zero: '-3h'"),
        ("0trials", "must be above zero"),
        ("9" * 400 + "h", "must not be above 1e"),
        ("3hours", "unknown unit 'hours'.*choose from:.*gpu-h"),
        ("3gpuh", "unknown unit 'gpuh'"),
        ("2.5trials", "must be whole"),
        ("30", "a number and a unit: '30'"),
        ("", "a number and a unit: ''"),
        ("3h,,", "a number and a unit: ''"),
        ("nanh", "a number and a unit: 'nanh'"),
        ("infh", "a number and a unit"),
        ("1min,2min", "one limit of each kind; '1min,2min' has two of wall time: leave one out"),
        ("3h,20min", "two of wall time"),
        ("2trials,1gpu-h,5trials", "two of trials"),
    ],
)
def test_a_wrong_budget_is_one_line(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        parse(text)
    assert "\n" not in str(error.value)


def test_gpu_time_without_a_gpu_is_an_error() -> None:
    with pytest.raises(UserError, match="needs a GPU: '50gpu-h'"):
        parse("50gpu-h", has_gpu=False)
    assert parse("2cpu-h", has_gpu=False).cpu_seconds == 7200


def test_the_first_limit_to_run_out_ends_the_search() -> None:
    budget = parse("1h,10trials,1cpu-h")
    early = Spent(device_seconds=3599, wall_seconds=3000, trials=9)
    assert (budget.trials_left(early), budget.seconds_left(early)) == (1, 1)
    assert budget.trials_left(Spent(trials=10)) == 0
    assert budget.seconds_left(Spent(device_seconds=3600)) == budget.seconds_left(Spent(wall_seconds=3570)) == 0
    assert budget.whole_wall_left(Spent(wall_seconds=3570)) == 30


def test_workers_that_share_a_gpu_use_up_its_time_together() -> None:
    budget = parse("1gpu-h", gpu_share=0.25)
    assert budget.seconds_left(Spent(device_seconds=4 * 3600 - 8)) == 8  # of four workers
    assert budget.share_spent(Spent(device_seconds=2 * 3600)) == 0.5
    found = budget.as_json(Spent(device_seconds=2 * 3600))
    assert (found["limits"], found["remaining"]) == ({"gpu_seconds": 3600}, {"gpu_seconds": 1800})
    assert parse("1gpu-h,1cpu-h", gpu_share=0.25).seconds_left(Spent()) == 3600


def test_trials_end_early_enough_to_score_the_winner() -> None:
    assert parse("10min").wall_left(Spent()) == 570
    assert parse("20s").wall_left(Spent()) == 19
    assert parse("5trials").seconds_left(Spent()) == math.inf


def test_the_share_spent_is_that_of_the_nearest_limit() -> None:
    budget = parse("100s,10trials")
    assert budget.share_spent(Spent(wall_seconds=20, trials=5)) == 0.5
    assert budget.share_spent(Spent(wall_seconds=200)) == 1


def test_what_remains_is_never_below_zero() -> None:
    found = parse("100s,10trials").as_json(Spent(wall_seconds=120, trials=4))
    assert found["limits"] == {"wall_seconds": 100, "trials": 10}
    assert found["remaining"] == {"wall_seconds": 0, "trials": 6}
    assert found["spent"]["trials"] == 4
