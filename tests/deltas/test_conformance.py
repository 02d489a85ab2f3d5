"""The conformance suite over every registered method, variants and pairs of them, larger compositions, and every T5."""

import random
from collections.abc import Callable
from functools import cache
from itertools import combinations
from typing import Any

import pytest

from autodelta.candidate import Candidate, Delta, Training
from autodelta.deltas.spec import MethodConfig, specs
from autodelta.shape import STACKS, BackboneShape
from tests.deltas.conformance import RULES, candidate_of, roles_of
from tests.models import TINY

Rule = Callable[[Any, Candidate], None]
# Every method on every T5; its further variants on two T5s each, other ones for the next method.
CASES = [
    (name, config, tiny)
    for number, (name, spec) in enumerate(specs().items())
    for variant, config in enumerate(spec.small)
    for tiny in (TINY if variant == 0 else [list(TINY)[(number + variant + more) % len(TINY)] for more in (0, 3)])
]
PAIRS = list(combinations(specs(), 2))
LARGER = 200


@cache
def backbone(name: str) -> Any:
    """Shared by all tests: a rule leaves a backbone as it was."""
    return TINY[name]()


@pytest.mark.parametrize(
    ("method", "config", "tiny"), CASES, ids=[f"{n}-{c.model_dump_json()}-{t}" for n, c, t in CASES]
)
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_method(rule: Rule, method: str, config: MethodConfig, tiny: str) -> None:
    model = backbone(tiny)
    rule(model, candidate_of(BackboneShape.of(model), (method, config)))


@pytest.mark.parametrize(("one", "two"), PAIRS, ids=["+".join(pair) for pair in PAIRS])
def test_pair(one: str, two: str) -> None:
    tiny = list(TINY)[PAIRS.index((one, two)) % len(TINY)]
    model = backbone(tiny)
    candidate = candidate_of(BackboneShape.of(model), (one, specs()[one].small[0]), (two, specs()[two].small[-1]))
    for rule in RULES:
        rule(model, candidate)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(LARGER))
def test_larger_composition(number: int) -> None:
    model = backbone(list(TINY)[number % len(TINY)])
    candidate = composition(BackboneShape.of(model), random.Random(number))
    for rule in RULES:
        rule(model, candidate)


def composition(shape: BackboneShape, rng: random.Random) -> Candidate:
    """Three to six methods at random roles, blocks and sizes."""
    deltas = []
    for method in rng.sample(list(specs()), rng.randint(3, 6)):
        roles = roles_of(method, shape)
        chosen = rng.sample(roles, rng.randint(1, len(roles)))
        blocks = {f"{stack}_blocks": _blocks(shape.blocks(stack), rng) for stack in STACKS}
        config = rng.choice(specs()[method].small)
        deltas.append(Delta(method=method, roles=tuple(chosen), config=config, learning_rate=1e-3, **blocks))
    return Candidate(deltas=tuple(deltas), training=Training(steps=1, batch_size=1))


def _blocks(number: int, rng: random.Random) -> tuple[int, ...] | None:
    return rng.choice((None, tuple(rng.sample(range(number), rng.randint(1, number)))))


def test_every_method_has_a_small_variant() -> None:
    assert all(spec.small for spec in specs().values())
