import pytest

from autodelta.candidate import Training
from autodelta.search.cost import Costs
from autodelta.search.front import bar, best, front
from autodelta.search.records import TrialRecord
from tests.search.fakes import a_candidate


def trial(number: int, score: float | None, parameters: int, state: str = "complete", **more: object) -> TrialRecord:
    given = {"candidate": None, "methods": ("lora",), "cap": None, "step": 1, "device_seconds": 1.0, "seed": 1, **more}
    return TrialRecord.model_validate(
        {"number": number, "score": score, "parameters": parameters, "state": state, "reason": "", **given}
    )


TRIALS = [
    trial(0, 0.5, 100),
    trial(1, 0.7, 200),
    trial(2, 0.6, 300),  # beaten by 1
    trial(3, 0.7, 150),  # as good as 1 with fewer parameters
    trial(4, 0.9, 400, "pruned"),
    trial(5, 0.8, 500),
    trial(6, 0.8, 500),  # equal to 5
    trial(7, None, 10, "failed"),
    trial(8, 0.99, 1, "infeasible"),
]


def test_the_front_holds_the_finished_trials_that_none_beats() -> None:
    assert [t.number for t in front(TRIALS)] == [0, 3, 5]


def test_the_best_of_equals_is_the_smallest_then_the_first() -> None:
    assert best(TRIALS) == TRIALS[5]
    assert best(TRIALS[:4]) == TRIALS[3]
    assert best([TRIALS[7]]) is None


def test_a_trial_joins_the_front_exactly_if_it_exceeds_the_bar() -> None:
    assert bar(TRIALS, 99) == -float("inf")
    assert bar(TRIALS, 100) == 0.5
    assert bar(TRIALS, 180) == 0.7
    for parameters in (50, 100, 180, 450, 600):
        for score in (0.5, 0.55, 0.7, 0.75, 0.8, 0.85):
            new = trial(9, score, parameters)
            assert (new in front([*TRIALS, new])) == (score > bar(TRIALS, parameters))


def test_costs_are_foreseen_from_trials_of_the_same_batch_size() -> None:
    fast, slow = a_candidate(steps=100, batch_size=8), a_candidate(steps=100, batch_size=32)
    costs = Costs(
        [
            trial(0, 0.5, 1, candidate=fast, step=100, device_seconds=10.0),
            trial(1, 0.5, 1, "pruned", candidate=slow, step=50, device_seconds=10.0),
            trial(2, None, 1, "failed", candidate=slow, step=0, device_seconds=0.0),
        ]
    )
    assert costs.seconds(Training(steps=200, batch_size=8)) == pytest.approx(20)
    assert costs.seconds(Training(steps=200, batch_size=32)) == pytest.approx(40)
    assert 200 * 16 * 0.2 / 32 < (costs.seconds(Training(steps=200, batch_size=16)) or 0) <= 40
    assert costs.cheapest() == pytest.approx(10)
    assert costs.until(fast.training, 80, since=30) == pytest.approx(5)
    assert Costs([]).seconds(fast.training) is None
    assert Costs([]).cheapest() is None


def test_a_trial_is_foreseen_to_be_dearer_than_most() -> None:
    own = a_candidate(steps=100, batch_size=8)
    took = (30.0, 10.0, 50.0, 40.0, 20.0, 60.0)
    costs = Costs(trial(n, 0.5, 1, candidate=own, step=100, device_seconds=took[n]) for n in range(6))
    assert costs.seconds(own.training) == pytest.approx(50)
