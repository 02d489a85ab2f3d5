import numpy as np
import pytest

from autodelta.space._domain import Choices, Range, domain, of_reals
from autodelta.space._trials import RandomTrial

DOMAINS = [
    domain([1, 2, 4, 8]),
    domain(["a", "b"]),
    domain({"low": 1, "high": 64, "log": True}),
    domain({"low": 3, "high": 9}),
    domain({"low": 4, "high": 20, "step": 4}),
    domain({"low": 0.25, "high": 1.0, "step": 0.25}),
    domain({"low": 0.1, "high": 0.3, "step": 0.1}),
    domain({"low": 1e-4, "high": 1e-1, "log": True}),
    of_reals(domain({"low": 0, "high": 1})),
    domain({"low": -6, "high": -1}),
    domain({"low": -2.0, "high": -0.5}),
]


@pytest.mark.parametrize("gene", DOMAINS)
def test_everything_drawn_or_listed_or_stepped_down_to_is_contained(gene: Choices | Range) -> None:
    trial = RandomTrial(np.random.default_rng(0))
    drawn = [gene.ask(trial, "gene") for _ in range(100)]
    assert all(gene.contains(value) for value in drawn)
    assert len(set(drawn)) > 1
    listed = gene.listed()
    if listed is not None:
        assert all(gene.contains(value) for value in listed)
        assert set(drawn) <= set(listed)
    bounds = gene.bounds()
    if bounds is not None:
        value, steps = bounds[1], 0
        while (lower := gene.below(value)) is not None:
            assert lower < value
            assert gene.contains(lower)
            value, steps = lower, steps + 1
        assert value == bounds[0]
        assert steps < 40


def test_ranges_list_their_steps_and_a_log_scale_has_none() -> None:
    assert domain({"low": 4, "high": 12, "step": 4}).listed() == range(4, 13, 4)
    assert domain({"low": 3, "high": 5}).listed() == range(3, 6)
    assert domain({"low": 0.0, "high": 0.5, "step": 0.25}).listed() == (0.0, 0.25, 0.5)
    assert domain({"low": 1, "high": 8, "log": True}).listed() is None
    assert domain({"low": 0.0, "high": 1.0}).listed() is None


def test_whole_numbers_stay_whole_and_real_ones_real() -> None:
    whole, real = domain({"low": 0, "high": 1}), of_reals(domain({"low": 0, "high": 1}))
    trial = RandomTrial(np.random.default_rng(0))
    assert {type(whole.ask(trial, "x")) for _ in range(20)} == {int}
    assert 0 < sum(float(str(real.ask(trial, "x"))) for _ in range(20)) < 20
    assert not whole.contains(0.5)
    assert real.contains(0.5)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ([], "no choices; name at least one"),
        (None, "must be a value, a list of choices, or {low, high, log, step}, not nothing"),
        ([[1], 2], "must be a value"),
        ([1, 2, 1], "the choice 1 stands twice"),
        ({"low": 1}, "a range needs a number as 'high', not None"),
        ({"low": "a", "high": 2}, "a range needs a number as 'low', not 'a'"),
        ({"low": 1, "high": 2, "lgo": True}, "unknown key 'lgo' in a range; choose from: low, high, log, step"),
        ({"low": 2, "high": 2}, "low must be below high, not 2 and 2"),
        ({"low": 0, "high": 2, "log": True}, "must start above 0, not at 0"),
        ({"low": 1, "high": 2, "log": True, "step": 1}, "a range on a log scale has no step"),
        ({"low": 1, "high": 2, "log": "yes"}, "log must be true or false, not 'yes'"),
        ({"low": 1, "high": 4, "step": 2}, "high must be a whole number of steps above low: 1 to 4 by 2"),
        ({"low": 1, "high": 4, "step": 0}, "step must be a number above 0, not 0"),
    ],
)
def test_a_gene_that_is_none_is_refused_with_rule_and_value(raw: object, message: str) -> None:
    with pytest.raises(ValueError, match="^.*" + message.replace("{", r"\{").replace("}", r"\}")):
        domain(raw)
