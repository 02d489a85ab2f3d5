"""A design is seeded, feasible, balanced at every beginning, and grows without changing what it was."""

from collections import Counter
from itertools import combinations, islice
from pathlib import Path
from typing import Any

import pytest

from autodelta.candidate import Candidate
from autodelta.space import Space
from autodelta.studies.design import candidates, method_sets, trials
from autodelta.studies.plan import Plan
from tests.search.fakes import FINITE, SHAPE, SPACE
from tests.search.fakes import space as a_space

WIDE = """
methods:
  lora: {learning_rate: {low: 1e-4, high: 1e-2, log: true}, sizes: {rank: {low: 1, high: 16, log: true}}}
  bitfit: {learning_rate: {low: 1e-4, high: 1e-2, log: true}, stacks: [both, decoder]}
  adapter: {learning_rate: {low: 1e-4, high: 1e-2, log: true}, sizes: {bottleneck: {low: 1, high: 32, log: true}}}
  prompt: {learning_rate: 0.1, stacks: encoder, roles: embeddings, sizes: {length: {low: 1, high: 20, log: true}}}
training:
  steps: [10, 20, 40]
  batch_size: 8
at_most: 3
"""


def first(space: Space, number: int, *, seed: int = 0, stream: str = "shared") -> list[Candidate]:
    return list(islice(candidates(space, stream, seed=seed), number))


@pytest.fixture
def wide(tmp_path: Path) -> Space:
    return a_space(tmp_path, WIDE)


def test_the_same_seed_gives_the_same_candidates_and_another_seed_or_stream_others(wide: Space) -> None:
    assert first(wide, 30) == first(wide, 30)
    assert not set(first(wide, 30)) & set(first(wide, 30, seed=1))
    assert not set(first(wide, 30)) & set(first(wide, 30, stream="sst2"))


def test_a_longer_design_begins_with_the_shorter_one(wide: Space) -> None:
    assert first(wide, 300)[:40] == first(wide, 40)


@pytest.mark.parametrize("number", [12, 20, 100])
def test_every_method_pair_and_triple_is_covered_evenly_at_every_beginning(wide: Space, number: int) -> None:
    sets = Counter(frozenset(candidate.methods) for candidate in first(wide, number))
    for size in (1, 2, 3):
        had = [sets[frozenset(chosen)] for chosen in combinations(wide.methods, size)]
        assert max(had) - min(had) <= 1
    sizes = Counter(len(chosen) for chosen in sets.elements())
    assert max(sizes.values()) - min(sizes.values()) <= 1
    uses = Counter(method for chosen in sets.elements() for method in chosen)
    assert max(uses.values()) - min(uses.values()) <= 2


def test_methods_are_covered_evenly_where_sets_are_many_and_candidates_few(tmp_path: Path) -> None:
    names = [f"m{number}" for number in range(12)]

    class Many:
        methods, at_most = tuple(names), 3

        def affordable(self, methods: Any) -> bool:
            return True

    found = list(islice(method_sets(Many()), 60))  # type: ignore[arg-type]
    assert len(set(found)) == 12 + 40
    uses = Counter(method for chosen in found if len(chosen) > 1 for method in chosen)
    assert max(uses.values()) - min(uses.values()) <= 2


def test_sizes_and_learning_rates_fill_their_ranges_evenly(wide: Space) -> None:
    alone = [c.deltas[0] for c in first(wide, 400) if c.methods == ("lora",)]
    assert len(alone) >= 32
    rates = Counter(int(8 * (delta.learning_rate / 1e-4 > 0) * _log_share(delta.learning_rate)) for delta in alone)
    assert min(rates[part] for part in range(8)) >= len(alone) / 8 - 2
    ranks = [delta.config.model_dump()["rank"] for delta in alone]
    assert min(ranks) == 1
    assert max(ranks) >= 14


def _log_share(rate: float) -> float:
    from math import log

    return log(rate / 1e-4) / log(1e-2 / 1e-4)


def test_all_candidates_lie_in_the_space_and_keep_its_constraint(tmp_path: Path) -> None:
    tight = a_space(tmp_path, WIDE + 'constraints: {trainable_parameters: "<= 15%"}\n')
    found = first(tight, 120)
    assert len(set(found)) == 120
    assert all(tight.contains(candidate) for candidate in found)
    assert max(candidate.count_parameters(SHAPE) for candidate in found) <= (tight.limit or 0)


def test_a_finite_space_is_exhausted_and_then_ends(tmp_path: Path) -> None:
    space = a_space(tmp_path, FINITE)
    assert set(first(space, 1000)) == set(space.grid())


def test_fresh_candidates_are_other_ones_than_the_shared(tmp_path: Path) -> None:
    space = a_space(tmp_path, SPACE)
    plan = Plan.model_validate({"tasks": ["a", "b"], "shared": 10, "fresh": 10})
    found = trials(plan, space, ["a", "b"])
    sets = {task: {trial.candidate for trial in of} for task, of in found.items()}
    assert [len(of) for of in found.values()] == [20, 20]
    assert [len(of) for of in sets.values()] == [20, 20]
    assert len(sets["a"] & sets["b"]) >= 10


def test_a_task_that_asks_for_more_fresh_candidates_adds_to_its_own_alone(wide: Space) -> None:
    before = Plan.model_validate({"tasks": ["a", "b"], "shared": 5, "fresh": 5})
    after = Plan.model_validate({"tasks": ["a", {"name": "b", "fresh": 9}], "shared": 5, "fresh": 5})
    old, new = (trials(plan, wide, ["a", "b"]) for plan in (before, after))
    assert old["a"] == new["a"]
    assert set(old["b"]) < set(new["b"])
    assert len(new["b"]) == len(old["b"]) + 4


def test_the_beginning_of_a_tasks_trials_holds_shared_fresh_and_repeated_ones_by_their_share(wide: Space) -> None:
    plan = Plan.model_validate({"tasks": ["a"], "shared": 40, "fresh": 40, "repeats": {"candidates": 20, "seeds": 3}})
    found = trials(plan, wide, ["a"])["a"]
    shared = set(first(wide, 40))
    start = found[:30]
    kinds = Counter("again" if t.repeat else "shared" if t.candidate in shared else "fresh" for t in start)
    assert max(kinds.values()) - min(kinds.values()) <= 1
    for place, trial in enumerate(found):
        if trial.repeat:
            earlier = [t for t in found[:place] if t.candidate == trial.candidate]
            assert {t.repeat for t in earlier} == set(range(trial.repeat))


def test_a_task_that_is_added_changes_no_trial_of_the_others(wide: Space) -> None:
    one, two = (Plan.model_validate({"tasks": tasks, "shared": 5, "fresh": 5}) for tasks in (["a"], ["b", "a"]))
    assert trials(one, wide, ["a"])["a"] == trials(two, wide, ["b", "a"])["a"]
