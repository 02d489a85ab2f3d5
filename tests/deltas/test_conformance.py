"""The conformance suite over every registered method, every variant of it, every pair of methods, and every tiny T5."""

from collections.abc import Callable
from functools import cache
from itertools import combinations
from typing import Any

import pytest

from autodelta.candidate import Candidate
from autodelta.deltas.spec import MethodConfig, specs
from autodelta.shape import BackboneShape
from tests.deltas.conformance import RULES, candidate_of
from tests.models import TINY

Rule = Callable[[Any, Candidate], None]
VARIANTS = [(name, config) for name, spec in specs().items() for config in spec.small]
PAIRS = list(combinations(specs(), 2))


@cache
def backbone(name: str) -> Any:
    """Shared by all tests: a rule leaves a backbone as it was."""
    return TINY[name]()


@pytest.mark.parametrize("tiny", TINY)
@pytest.mark.parametrize(("method", "config"), VARIANTS, ids=[f"{name}-{c.model_dump_json()}" for name, c in VARIANTS])
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


def test_every_method_has_a_small_variant() -> None:
    assert all(spec.small for spec in specs().values())
