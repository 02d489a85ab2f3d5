from collections import Counter

import pytest

from autodelta.candidate import Candidate
from autodelta.search.answer import Confirmed, next_run, runs_allowed, to_test
from autodelta.search.answer.race import Left, chosen
from tests.search.answer.simulated import BITFIT, LORA, World, baseline, candidate, finalist

FINALISTS = [finalist(0, LORA, BITFIT), finalist(1), finalist(2), finalist(3)]
LORAS, FULLS = [baseline("lora", n) for n in range(3)], [baseline("full", n) for n in range(3)]
ENTRANTS = [*FINALISTS, *LORAS, *FULLS]
WORTH = {"finalist 0": 0.82, "finalist 1": 0.8, "finalist 2": 0.75, "finalist 3": 0.7}
WORTH |= {"lora 0": 0.7, "lora 1": 0.78, "lora 2": 0.6, "full 0": 0.8, "full 1": 0.7, "full 2": 0.7}
WORLD = World(WORTH, seed=1, sd=0.004, shared_sd=0.002)


def numbers(results: list[Confirmed]) -> Counter[str]:
    return Counter(run.entrant for run in results)


def failed(name: str, seed_index: int) -> Confirmed:
    return Confirmed(entrant=name, candidate=candidate(0), seed_index=seed_index, seed=0, validation=None)


def test_a_race_with_room_for_all_ends_by_itself_with_every_comparison_made() -> None:
    found = numbers(WORLD.race(ENTRANTS, runs=1000))
    assert found["finalist 0"] == 16
    assert found["finalist 1"] == 5  # the best single method
    assert found["finalist 3"] == 2  # left behind as soon as that could be told
    assert (found["lora 0"], found["lora 1"], found["lora 2"]) == (1, 5, 1)
    assert (found["full 0"], found["full 1"], found["full 2"]) == (5, 1, 1)


def test_a_race_spends_less_than_five_seeds_for_everybody_and_finds_the_same_winner() -> None:
    raced = WORLD.race(FINALISTS, runs=1000)
    assert sum(run.seed_index < 5 for run in raced) < 5 * len(FINALISTS) - 3
    assert numbers(raced).most_common(1)[0][0] == "finalist 0"


def test_what_is_needed_most_is_done_first() -> None:
    order = [(run.entrant, run.seed_index) for run in WORLD.steps(ENTRANTS, runs=1000)]
    places = {run: place for place, run in enumerate(order)}
    assert order[:5] == [("finalist 0", 0), ("finalist 1", 0), ("finalist 2", 0), ("finalist 3", 0), ("finalist 0", 1)]
    assert places["finalist 0", 4] < places["lora 0", 0]
    assert places["lora 1", 2] < places["full 0", 0]
    assert places["finalist 1", 2] < places["full 0", 2] < places["lora 1", 4] < places["finalist 0", 7]


def test_every_race_is_a_beginning_of_the_longer_one_with_as_many_finalists() -> None:
    assert WORLD.race(ENTRANTS, runs=26) == WORLD.race(ENTRANTS, runs=30)[:26]


def test_once_every_finalist_broke_down_no_baseline_is_trained_or_scored_for_nothing() -> None:
    broken = [failed(entrant.name, 0) for entrant in FINALISTS]
    trained = [WORLD.run(baseline, 0).model_copy(update={"test": None}) for baseline in LORAS]
    assert next_run(ENTRANTS, broken[:3]) == (FINALISTS[3], 0)
    assert next_run(ENTRANTS, broken) is None
    assert to_test(ENTRANTS, [*broken, *trained]) == []  # as the answer says then that test was not touched


@pytest.mark.parametrize(("runs", "raced"), [(3, 1), (6, 1), (12, 2), (24, 4)])
def test_with_few_runs_fewer_finalists_have_three_seeds_rather_than_many_one(runs: int, raced: int) -> None:
    found = numbers(WORLD.race(ENTRANTS, runs=runs))
    assert sum(found.values()) == runs
    assert len([name for name in found if name.startswith("finalist")]) == raced
    assert found["finalist 0"] >= 3


def test_a_finalist_that_was_run_stays_in_a_race_whose_time_grows_short() -> None:
    """Time also goes to start-up, waiting and scoring, which no run accounts for."""
    results: list[Confirmed] = []
    left = 125.0
    while (
        wanted := next_run(FINALISTS[:2], results, Left(seconds=left, seconds_of=lambda candidate: 10.0))
    ) is not None:
        entrant, seed = wanted
        results.append(WORLD.run(entrant, seed).model_copy(update={"device_seconds": 10.0}))
        left -= 12.0
    assert numbers(results)["finalist 1"] >= 3


def test_a_run_that_will_not_fit_is_passed_over_for_one_that_will() -> None:
    def seconds(wanted: Candidate) -> float:
        return 100.0 if wanted.methods == ("full",) else 1.0

    left, results = 60.0, []
    while (found := next_run(ENTRANTS, results, Left(seconds=left, seconds_of=seconds))) is not None:
        assert seconds(found[0].candidate) <= left
        results.append(WORLD.run(*found))
        left -= seconds(found[0].candidate)
    assert numbers(results)["finalist 0"] == 16
    assert not any(run.entrant.startswith("full") for run in results)
    assert next_run(ENTRANTS, [], Left(seconds=0.5, seconds_of=seconds)) is None
    assert next_run(ENTRANTS, [], Left(device_seconds=0.5, seconds_of=seconds)) is None


def test_how_many_workers_there_are_does_not_say_what_device_seconds_buy() -> None:
    running: list[tuple[str, int]] = []
    left = 18.0
    while found := next_run(
        FINALISTS, [], Left(device_seconds=left, workers=16, running=running, seconds_of=lambda wanted: 1.0)
    ):
        running.append((found[0].name, found[1]))
        left -= 1.0
    assert len(running) == 9  # half of the seconds for three seeds each of the first finalists


def test_a_run_is_foreseen_to_cost_what_the_dearest_of_its_like_cost_before() -> None:
    took = [WORLD.run(FINALISTS[0], n).model_copy(update={"device_seconds": s}) for n, s in enumerate((1.0, 50.0))]
    for left, expected in ((40.0, None), (50.0, (FINALISTS[0], 2))):
        assert next_run(FINALISTS[:1], took, Left(seconds=left, seconds_of=lambda wanted: 1.0)) == expected


def test_runs_under_way_are_not_asked_for_twice() -> None:
    running: set[tuple[str, int]] = set()
    for _ in range(12):
        found = next_run(FINALISTS, [], Left(running=running))
        assert found is not None
        running.add((found[0].name, found[1]))
    assert len(running) == 12
    assert next_run(FINALISTS, [], Left(running=running)) is None  # who leads is not known yet


def test_a_baseline_waits_for_all_its_learning_rates() -> None:
    entrants, leading = [FINALISTS[0], *LORAS], [WORLD.run(FINALISTS[0], seed) for seed in range(16)]
    results = [*leading, WORLD.run(LORAS[0], 0), WORLD.run(LORAS[1], 0)]
    assert next_run(entrants, results, Left(running={("lora 2", 0)})) is None
    found = next_run(entrants, [*results, WORLD.run(LORAS[2], 0)])
    assert found == (LORAS[1], 1)
    assert chosen(LORAS, [*results, failed("lora 1", 0)]) == LORAS[0]


def test_who_broke_down_is_not_run_again_and_the_next_takes_its_place() -> None:
    results: list[Confirmed] = [failed("finalist 0", 0)]
    while (found := next_run(ENTRANTS, results, Left(runs=6 - len(results)))) is not None:
        assert found[0].name != "finalist 0"
        results.append(WORLD.run(*found))
    assert numbers(results)["finalist 1"] >= 3


def test_a_budget_in_trials_allows_a_share_of_them_at_least_three() -> None:
    assert [runs_allowed(trials, 0.2) for trials in (1, 12, 13, 100)] == [3, 3, 4, 25]
    assert next_run(ENTRANTS, [], Left(runs=0)) is None
    assert next_run([], []) is None
