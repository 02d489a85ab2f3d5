from collections import Counter

import numpy as np
import pytest

from autodelta.candidate import Candidate
from autodelta.search.answer import Confirmed, next_run, runs_allowed, to_test
from autodelta.search.answer.race import Left, chosen
from autodelta.search.answer.select import choose
from tests.search.answer.simulated import BITFIT, LORA, World, baseline, candidate, finalist

FINALISTS = [
    finalist(0, LORA, BITFIT, expected=0.81, expected_sd=0.01),
    finalist(1, expected=0.8, expected_sd=0.01),
    finalist(2, expected=0.77, expected_sd=0.01),
    finalist(3, expected=0.75, expected_sd=0.01),
]
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
    assert order[:7] == [("finalist 0", seed) for seed in range(7)]  # it holds up
    assert order[7:10] == [("lora 0", 0), ("lora 1", 0), ("lora 2", 0)]
    assert places["lora 1", 2] < places["finalist 1", 0] < places["finalist 2", 0] < places["finalist 1", 1]
    assert places["finalist 1", 2] < places["full 0", 0]
    assert places["finalist 1", 2] < places["full 0", 2] < places["lora 1", 4] < places["finalist 0", 7]


def test_a_finalist_that_does_not_hold_up_at_fresh_seeds_is_left_for_the_next() -> None:
    """As in a search whose best by far was so at its own seed alone, and that had three runs."""
    entrants = [finalist(0, expected=0.713, expected_sd=0.01), finalist(1, expected=0.697, expected_sd=0.01)]
    world = World({"finalist 0": 0.51, "finalist 1": 0.7}, seed=0)
    assert [run.entrant for run in world.steps(entrants, runs=3)] == ["finalist 0", "finalist 1", "finalist 1"]
    held = World({"finalist 0": 0.7, "finalist 1": 0.7}, seed=0)
    assert [run.entrant for run in held.steps(entrants, runs=3)] == ["finalist 0"] * 3


@pytest.mark.parametrize("runs", [3, 6, 12])
def test_few_runs_find_a_better_one_than_all_of_them_on_the_one_that_seemed_best(runs: int) -> None:
    """The search's luck: what it expects is a seed of each, of candidates that scatter as unlike as recorded ones."""
    lost, seemed = [], []
    for seed in range(60):
        rng = np.random.default_rng([3, seed])
        sds = np.exp(rng.normal(np.log(0.02), 1, 4))
        worth = rng.normal(0.75, 0.03, 4)
        entrants = [finalist(n, expected=rng.normal(worth[n], sds[n]), expected_sd=0.01) for n in range(4)]
        names = [entrant.name for entrant in entrants]
        own = dict(zip(names, worth, strict=True))
        world = World(own, seed=seed, sds=dict(zip(names, sds, strict=True)), shared_sd=0)
        choice = choose(entrants, world.race(entrants, runs=runs))
        assert choice is not None
        lost.append(max(worth) - own[choice.winner])
        seemed.append(max(worth) - own[max(entrants, key=lambda one: one.expected or 0.0).name])
    assert np.mean(lost) < 0.7 * np.mean(seemed)


def test_every_race_is_a_beginning_of_the_longer_one_with_as_many_finalists() -> None:
    assert WORLD.race(ENTRANTS, runs=26) == WORLD.race(ENTRANTS, runs=30)[:26]


def test_once_every_finalist_broke_down_no_baseline_is_trained_or_scored_for_nothing() -> None:
    broken = [failed(entrant.name, 0) for entrant in FINALISTS]
    trained = [WORLD.run(baseline, 0).model_copy(update={"test": None}) for baseline in LORAS]
    assert next_run(ENTRANTS, broken[:3]) == (FINALISTS[3], 0)
    assert next_run(ENTRANTS, broken) is None
    assert to_test(ENTRANTS, [*broken, *trained]) == []  # as the answer says then that test was not touched


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


def test_a_run_is_foreseen_to_cost_what_the_dearest_of_its_like_cost_before() -> None:
    took = [WORLD.run(FINALISTS[0], n).model_copy(update={"device_seconds": s}) for n, s in enumerate((1.0, 50.0))]
    for left, expected in ((40.0, None), (50.0, (FINALISTS[0], 2))):
        assert next_run(FINALISTS[:1], took, Left(seconds=left, seconds_of=lambda wanted: 1.0)) == expected


def test_runs_under_way_are_not_asked_for_twice_and_each_finalist_has_as_many_as_its_chance_calls_for() -> None:
    running: list[tuple[str, int]] = []
    for _ in range(12):
        found = next_run(FINALISTS, [], Left(running=running))
        assert found is not None
        running.append((found[0].name, found[1]))
    assert len(set(running)) == 12
    given = Counter(name for name, _ in running)
    assert list(given) == ["finalist 0", "finalist 1", "finalist 2"]  # the fourth has hardly a chance
    assert given["finalist 0"] >= given["finalist 1"] > given["finalist 2"]
    settled = [("finalist 0", seed) for seed in range(7)]
    for _ in range(9):  # the leader's seven are under way: what is done meanwhile is three seeds of the others
        found = next_run(FINALISTS, [], Left(running=settled))
        assert found is not None
        assert found[0] != FINALISTS[0]
        settled.append((found[0].name, found[1]))
    assert next_run(FINALISTS, [], Left(running=settled)) is None  # who leads is not known yet


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
    assert numbers(results)["finalist 1"] >= 3  # who seemed second


def test_a_budget_in_trials_allows_a_share_of_them_at_least_three() -> None:
    assert [runs_allowed(trials, 0.2) for trials in (1, 12, 13, 100)] == [3, 3, 4, 25]
    assert next_run(ENTRANTS, [], Left(runs=0)) is None
    assert next_run([], []) is None
