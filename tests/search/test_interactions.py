"""Searches drawn from a space, their scores from a known rule: what is found must be the rule."""

from collections import defaultdict
from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
from pydantic import BaseModel

from autodelta.candidate import Candidate
from autodelta.search.importance import genes, importance, rungs
from autodelta.search.interactions import Interactions, interactions, pairs
from autodelta.space import Space
from tests.search.fakes import SHAPE

ALONE = {"lora": 0.15, "adapter": 0.13, "bitfit": 0.08, "prompt": 0.0}
TOGETHER = {("adapter", "lora"): -0.10, ("bitfit", "lora"): -0.08, ("adapter", "bitfit"): -0.14}
SPACE = Space.load("default", SHAPE.model_copy(update={"d_model": 64, "d_kv": 16, "d_ff": 128}))


class Point(BaseModel):
    step: int
    score: float


class Trial(BaseModel):
    candidate: Candidate | None
    curve: tuple[Point, ...]


def draw(number: int, *, seed: int) -> list[Candidate]:
    rng = np.random.default_rng(seed)
    return [SPACE.sample(rng) for _ in range(number)]


def worth(methods: tuple[str, ...]) -> float:
    pairs = (TOGETHER.get((a, b), 0.0) for a, b in combinations(sorted(methods), 2))
    return 0.55 + sum(ALONE[method] for method in methods) + sum(pairs)


def score(candidate: Candidate, rng: np.random.Generator) -> float:
    """What its methods are worth, less for learning rates that are off, and noise."""
    rates = [np.log10(delta.learning_rate / 4e-3) for delta in candidate.deltas if delta.method != "prompt"]
    return float(worth(candidate.methods) - 0.05 * np.square(rates).sum() + rng.normal(0, 0.02))


def trials(
    found: list[Candidate], rule: Callable[[Candidate], float], steps: tuple[int, ...] = (10, 30)
) -> list[Trial]:
    """Every trial reaches every step; the first says nothing."""
    rng = np.random.default_rng(7)
    return [
        Trial(
            candidate=one,
            curve=tuple(Point(step=s, score=rng.random() if s == steps[0] else rule(one)) for s in steps),
        )
        for one in found
    ]


def test_a_gene_that_decides_is_found_and_no_other_is() -> None:
    false = 0
    for seed in range(8):
        found = draw(80, seed=seed)
        rng = np.random.default_rng(seed)
        rung = importance(30, [(one, ("lora" in one.methods) + rng.normal(0, 0.3)) for one in found], seed=seed)
        assert rung.genes[0].gene == "lora"
        assert rung.genes[0].kind == "method"
        false += sum(gene.matters for gene in rung.genes[1:])
    assert false <= 3  # eight times some twenty genes at one in a hundred


def test_a_size_within_a_method_is_told_from_the_method_itself() -> None:
    found = draw(200, seed=1)
    rng = np.random.default_rng(1)
    scored = []
    for one in found:
        own = {delta.method: delta for delta in one.deltas}
        rank = own["lora"].config.model_dump()["rank"] if "lora" in own else 4
        scored.append((one, float(np.log(rank) + rng.normal(0, 0.3))))
    rung = importance(30, scored)
    assert rung.genes[0].gene == "lora rank"
    assert (rung.genes[0].kind, rung.genes[0].matters) == ("size", True)


def test_equal_scores_make_nothing_important() -> None:
    rung = importance(30, [(one, 0.5) for one in draw(60, seed=2)])
    assert all(gene.value < 1e-9 and gene.p == 1 for gene in rung.genes)


def test_importances_are_per_rung_and_need_enough_trials() -> None:
    found = draw(40, seed=3)
    made = trials(found, lambda one: float("lora" in one.methods))
    made[0] = Trial(candidate=found[0], curve=(Point(step=10, score=float("nan")),))
    made += [Trial(candidate=None, curve=(Point(step=10, score=0.5),)), Trial(candidate=found[0], curve=())]
    assert {step: len(rows) for step, rows in rungs(made).items()} == {10: 39, 30: 39}
    by_step = {rung.step: rung for rung in interactions(made).rungs}
    assert by_step[30].genes[0].gene == "lora"
    assert not any(gene.matters and gene.gene == "lora" for gene in by_step[10].genes)
    assert rungs(made[:19]) == {}


def test_a_gene_is_named_by_method_roles_depth_and_size() -> None:
    candidate = next(one for one in draw(50, seed=4) if one.methods == ("lora",))
    kinds = {gene: kind for gene, (kind, _) in genes(candidate).items()}
    assert kinds["lora"] == "method"
    assert kinds["lora roles"] == "roles"
    assert kinds["lora depth"] == "depth"
    assert kinds["lora rank"] == "size"
    assert kinds["lora learning rate"] == "learning rate"
    assert kinds["steps"] == "training"


def test_the_interval_of_a_pairs_gain_holds_the_truth_and_says_which_help() -> None:
    """Each method stands at its best learning rate, so that a pair, with two to get wrong, is not at a loss for it."""
    inside, verdicts = [], defaultdict(list)
    for seed in range(12):
        found = draw(150, seed=seed)
        rng = np.random.default_rng(seed)
        for pair in pairs(found, [score(one, rng) for one in found], seed=seed):
            assert pair.gain is not None
            truth = worth(pair.methods) - max(worth((method,)) for method in pair.methods)
            inside.append(pair.gain.low <= truth <= pair.gain.high)
            verdicts[pair.methods].append(pair.verdict)
    assert np.mean(inside) >= 0.8
    assert verdicts["adapter", "bitfit"] == ["hurt"] * 12
    assert verdicts["adapter", "lora"].count("help") >= 9
    assert verdicts["adapter", "lora"].count("hurt") == 0
    assert verdicts["bitfit", "prompt"].count("no clear difference") >= 8


def test_a_pair_is_also_held_against_pairs_in_general() -> None:
    found = draw(300, seed=5)
    rng = np.random.default_rng(5)
    by_pair = {pair.methods: pair for pair in pairs(found, [score(one, rng) for one in found])}
    effects = {methods: pair.effect.mean for methods, pair in by_pair.items() if pair.effect is not None}
    assert len(effects) == 6
    assert sum(effects.values()) == pytest.approx(0, abs=1e-6)
    assert min(effects, key=lambda methods: effects[methods]) == ("adapter", "bitfit")


def test_pairs_seen_too_rarely_are_not_judged() -> None:
    found = draw(150, seed=6)
    rare = [one for one in found if set(one.methods) >= {"lora", "prompt"}][:3]
    kept = [one for one in found if not set(one.methods) >= {"lora", "prompt"}] + rare
    by_pair = {pair.methods: pair for pair in pairs(kept, [worth(one.methods) for one in kept])}
    assert by_pair["lora", "prompt"].verdict == "too few trials"
    assert by_pair["adapter", "lora"].verdict == "help"
    assert all(pair.verdict == "too few trials" for pair in pairs(found[:15], [0.5] * 15))


def test_pairs_are_compared_at_the_last_step_that_half_of_the_trials_reached() -> None:
    found = draw(90, seed=8)
    rng = np.random.default_rng(8)
    made = trials(found, lambda one: score(one, rng), steps=(10, 30, 90))
    stopped = [one.model_copy(update={"curve": one.curve[:2]}) for one in made[:60]]
    result = interactions([*stopped, *made[60:]])
    assert (result.step, result.compared, result.trials) == (30, 90, 90)
    assert [rung.step for rung in result.rungs] == [10, 30, 90]
    assert Interactions.model_validate_json(result.model_dump_json()) == result


def test_a_search_of_a_few_trials_says_nothing() -> None:
    result = interactions(trials(draw(5, seed=9), lambda one: 0.5))
    assert (result.step, result.rungs, result.pairs) == (None, (), ())
