import numpy as np
import pytest
from scipy.special import digamma, polygamma
from scipy.stats import norm, t

from autodelta.search.answer.posterior import chances, expected_regret, highest, posterior, seed_spread
from autodelta.search.answer.race import LEADERS
from autodelta.search.answer.results import Confirmed
from autodelta.search.answer.select import choose, gap, rejected
from autodelta.search.answer.variance import (
    NOTHING,
    RECORDED,
    Spread,
    moderated,
    pooled,
    prediction,
    pulled,
    total,
)
from tests.search.answer.simulated import BITFIT, LORA, World, baseline, candidate, finalist

FINALISTS = [finalist(number) for number in range(4)]
ENTRANTS = [*FINALISTS, *(baseline("lora", number) for number in range(3)), *(baseline("full", n) for n in range(3))]
BASELINES = {f"lora {number}": 0.78 - 0.01 * number for number in range(3)} | {
    f"full {number}": 0.81 - 0.01 * number for number in range(3)
}
NULL = {f"finalist {number}": 0.8 for number in range(4)} | BASELINES
CLOSE = {f"finalist {number}": 0.8 - 0.004 * number for number in range(4)} | BASELINES
WORLDS = 60


def runs(name: str, *scores: float | None) -> list[Confirmed]:
    """Runs with these scores on validation, and the same on test."""
    return [
        Confirmed(
            entrant=name, candidate=candidate(0), seed_index=n, seed=n, validation=score, test=score, reason="loss NaN"
        )
        for n, score in enumerate(scores)
    ]


def test_the_variance_within_samples_is_pooled_by_degrees_of_freedom() -> None:
    found = pooled([[1.0, 3.0], [0.0, 0.0, 0.0], [5.0]])
    assert (found.dof, found.sd**2) == (3, pytest.approx(2 / 3))
    assert pooled([[1.0]]) == Spread(sd=0.0, dof=0)


def test_a_spread_is_pulled_towards_another_by_degrees_of_freedom() -> None:
    found = pulled(Spread(sd=2.0, dof=4), Spread(sd=1.0, dof=30), prior=2)
    assert (found.dof, found.sd**2) == (6, pytest.approx((4 * 4 + 2 * 1) / 6))
    assert pulled(Spread(sd=2.0, dof=4), NOTHING, prior=2) == Spread(sd=2.0, dof=4)
    assert pulled(Spread(sd=2.0, dof=8), Spread(sd=9.0, dof=30), prior=2) == Spread(sd=2.0, dof=8)  # has seeds enough
    assert pulled(NOTHING, NOTHING, prior=2) == NOTHING


def test_of_a_sum_of_two_the_one_that_is_larger_is_known_as_well_as_the_sum() -> None:
    found = total(Spread(sd=3.0, dof=4), Spread(sd=4.0, dof=6))
    assert (found.sd, found.dof) == (5, pytest.approx(25**2 / (9**2 / 4 + 16**2 / 6)))
    assert total(Spread(sd=3.0, dof=4), Spread(sd=0.0, dof=6)) == Spread(sd=3.0, dof=4)
    assert total(Spread(sd=3.0, dof=4), NOTHING) == NOTHING


def test_the_spread_of_many_seeds_is_their_own_and_that_of_none_what_others_and_records_say() -> None:
    others = [Spread(sd=0.04, dof=4)] * 40
    many = moderated(Spread(sd=0.01, dof=100), others)
    assert many.sd == pytest.approx(0.01, rel=0.05)
    assert many.dof == pytest.approx(100, rel=0.1)
    one = moderated(NOTHING, others)
    typical = one.sd * np.exp((np.log(one.dof / 2) - digamma(one.dof / 2)) / 2)  # the centre of its logarithm
    assert typical == pytest.approx(0.04, rel=0.2)
    assert polygamma(1, one.dof / 2) / 4 == pytest.approx(RECORDED.of_candidates**2, rel=0.1)
    assert moderated(NOTHING, [NOTHING]) == NOTHING
    hundredth = moderated(Spread(sd=1e-4, dof=2), [])
    assert moderated(Spread(sd=0.0, dof=2), []) == hundredth  # seeds that agree are told no finer than that


def test_a_spread_is_what_the_model_says_of_it() -> None:
    """Drawn from the model, a third seed lies where it is to lie in nine of ten cases, whatever the others are like."""
    rng, inside, wild = np.random.default_rng(0), [], []
    for _ in range(3000):
        task = np.log(RECORDED.typical) + RECORDED.of_tasks * rng.standard_normal()
        sds = np.exp(task + RECORDED.of_candidates * rng.standard_normal(3))
        own, *others = (rng.normal(0.0, sd, seeds) for sd, seeds in zip(sds, (3, 2, 3), strict=True))
        spreads = [pooled([list(other)]) for other in others]
        found = prediction(list(own[:2]), moderated(pooled([list(own[:2])]), spreads), level=0.9)
        assert found is not None
        inside.append(found.low <= own[2] <= found.high)
        wild.append(spreads[0].sd > 0.1)
    assert np.mean(inside) == pytest.approx(0.9, abs=0.015)
    assert np.mean(np.array(inside)[wild]) == pytest.approx(0.9, abs=0.03)


def test_one_other_finalist_that_scatters_wildly_does_not_widen_what_seven_seeds_say() -> None:
    """As in a search on a demo task, which said of such a winner that another seed lies in .727 to 1."""
    scores = [0.984, 1.0, 1.0, 1.0, 0.984, 0.984, 0.984]
    alone, beside = (
        seed_spread(runs("finalist 0", *scores) + other, "finalist 0", split="test")
        for other in ([], runs("finalist 1", 0.526, 0.783))
    )
    found = prediction(scores, beside, level=0.9)
    assert found is not None
    assert found.low > 0.965
    assert 1 < beside.sd / alone.sd < 1.1
    both = runs("finalist 0", *scores) + runs("finalist 1", 0.526, 0.783) + runs("lora 0", *np.subtract(scores, 0.05))
    difference = gap(both, "finalist 0", "lora 0", split="test")
    assert difference is not None
    assert difference.spread.sd < 0.015


def test_a_prediction_for_the_seeds_of_a_leader_is_about_four_standard_deviations_wide() -> None:
    scores = [0.8, 0.81, 0.79, 0.8, 0.8, 0.79, 0.81]
    assert len(scores) == LEADERS
    spread = moderated(pooled([scores]), [pooled([scores])] * 4)
    found = prediction(scores, spread, level=0.9)
    assert found is not None
    assert found.low + found.high == pytest.approx(1.6)
    assert found.width == pytest.approx(4 * spread.sd, rel=0.05)
    assert prediction([0.8], Spread(sd=0.0, dof=0), level=0.9) is None
    two = prediction([0.8, 0.82], Spread(sd=0.01, dof=3), level=0.9)
    assert two is not None
    assert two.width == pytest.approx(2 * t.ppf(0.95, 3) * 0.01 * 1.5**0.5)


@pytest.mark.parametrize(("sds", "correlation"), [((1.0, 1.0), 0.5), ((0.6, 1.6), 0.9)])
def test_the_stated_interval_holds_nine_of_ten_fresh_seeds(sds: tuple[float, float], correlation: float) -> None:
    """Also where candidates do not scatter alike, and luck on validation, by which the winner is chosen, is luck on
    test."""
    inside, widths = [], []
    for seed in range(WORLDS):
        own = {entrant.name: 0.01 * sds[number % 2] for number, entrant in enumerate(ENTRANTS)}
        world = World(NULL, seed=seed, sds=own, correlation=correlation)
        results = world.race(ENTRANTS, runs=25)
        choice = choose(ENTRANTS, results)
        assert choice is not None
        winner = next(entrant for entrant in ENTRANTS if entrant.name == choice.winner)
        tests = [run.test for run in results if run.entrant == winner.name and run.test is not None]
        spread = seed_spread(results, winner.name, split="test")
        stated = prediction(tests, spread, level=0.9)
        assert stated is not None
        widths.append(stated.width / np.hypot(own[winner.name], world.shared_sd))
        fresh = [world.run(winner, number).test or 0.0 for number in range(100, 120)]
        inside += [stated.low <= score <= stated.high for score in fresh]
    assert 0.86 <= np.mean(inside) <= 0.94
    assert np.median(widths) == pytest.approx(4, rel=0.1)


@pytest.mark.parametrize("worth", [NULL, CLOSE])
def test_the_tie_set_holds_the_best_finalist_nine_times_in_ten(worth: dict[str, float]) -> None:
    held, sizes = [], []
    for seed in range(WORLDS):
        choice = choose(ENTRANTS, World(worth, seed=seed).race(ENTRANTS, runs=25))
        assert choice is not None
        held.append("finalist 0" in choice.tied)
        sizes.append(len(choice.tied))
    assert np.mean(held) >= 0.9
    assert worth is NULL or np.mean(sizes) < 3.9


def test_those_far_behind_do_not_tie_and_the_smallest_that_ties_is_exported() -> None:
    worth = NULL | {"finalist 0": 0.7, "finalist 3": 0.802}
    for seed in range(10):
        choice = choose(ENTRANTS, World(worth, seed=seed, sd=0.004).race(ENTRANTS, runs=25))
        assert choice is not None
        assert "finalist 0" not in choice.tied
        assert choice.export == choice.tied[0] == min(choice.tied)
        assert choice.winner in choice.tied


def test_differences_are_of_the_seeds_that_two_share() -> None:
    both = runs("finalist 0", 0.9, 0.91) + runs("finalist 1", 0.92, 0.93, 0.5, 0.5)
    difference = gap(both, "finalist 1", "finalist 0", split="validation")
    assert difference is not None
    assert (difference.mean, difference.seeds) == (pytest.approx(0.02), 2)


def test_the_winner_is_the_highest_by_what_was_expected_and_fresh_seeds() -> None:
    seeds = runs("finalist 0", 0.70, 0.72, 0.71) + runs("finalist 1", 0.72)
    for expected, winner in ((0.66, "finalist 0"), (0.72, "finalist 1")):
        known = [finalist(0, expected=0.72, expected_sd=0.01), finalist(1, expected=expected, expected_sd=0.01)]
        choice = choose(known, seeds)
        assert choice is not None
        assert choice.winner == winner
    unconfirmed = [*known, finalist(2, expected=0.9, expected_sd=0.01)]
    assert highest(unconfirmed, seeds) == unconfirmed[2]
    assert choose(unconfirmed, seeds) == choice  # who has no fresh seed is not chosen


def test_a_posterior_weighs_what_was_expected_as_a_seed_and_less() -> None:
    seeds = runs("finalist 0", 0.80, 0.84) + runs("finalist 1", 0.7, 0.7)
    found = posterior(finalist(0, expected=0.78, expected_sd=0.03), seeds, row_variance=1e-4)
    variance = seed_spread(seeds, "finalist 0", split="validation").sd ** 2
    first, second = 3e-2**2 + variance, variance / 2 + 1e-4
    assert found is not None
    assert found.mean == pytest.approx((0.78 * second + 0.82 * first) / (first + second))
    assert found.sd**2 == pytest.approx(first * second / (first + second))
    alone = posterior(finalist(0, expected=0.78, expected_sd=0.03), [])
    assert alone == pytest.approx((0.78, (3e-2**2 + RECORDED.typical**2) ** 0.5))
    assert posterior(finalist(0), []) is None
    fresh = posterior(finalist(0), seeds)
    assert fresh == pytest.approx((0.82, (variance / 2) ** 0.5))


def test_who_scatters_wildly_is_believed_the_less_for_a_lucky_seed_of_the_search() -> None:
    lucky = finalist(0, expected=0.8, expected_sd=0.01)
    wild, steady = (posterior(lucky, runs("finalist 0", 0.7 - by, 0.7 + by)) for by in (0.1, 0.001))
    assert wild is not None
    assert steady is not None
    assert steady.mean < wild.mean < 0.74  # two of its own seeds against one


def test_chances_are_those_of_normal_beliefs() -> None:
    known = [finalist(0, expected=0.80, expected_sd=0.01), finalist(1, expected=0.79, expected_sd=0.03)]
    found = chances(known, [])
    apart = 0.01 / (0.01**2 + 0.03**2 + 2 * RECORDED.typical**2) ** 0.5
    assert found["finalist 0"] == pytest.approx(norm.cdf(apart), abs=0.01)
    assert sum(found.values()) == pytest.approx(1)
    assert chances([*known, finalist(2)], []) == {"finalist 0": 0, "finalist 1": 0, "finalist 2": 1}
    assert chances([], []) == {}
    assert highest([], []) is None
    assert highest([known[0], finalist(3, expected=0.8)], []) == known[0]


def test_who_was_left_after_two_seeds_is_not_said_to_tie() -> None:
    """It is the smallest, and was left because it did not hold up; two seeds are too few to tell that for sure."""
    known = [finalist(n, expected=0.72, expected_sd=0.01) for n in range(2)]
    held = runs("finalist 1", 0.70, 0.71, 0.69)
    for seeds, export in ((2, "finalist 1"), (3, "finalist 0")):
        choice = choose(known, held + runs("finalist 0", *[0.70, 0.65, 0.69][:seeds]))
        assert choice is not None
        assert (choice.winner, choice.export) == ("finalist 1", export)


def test_one_seed_tells_nothing_apart_so_the_winner_is_exported() -> None:
    choice = choose(FINALISTS[:2], runs("finalist 0", 0.8) + runs("finalist 1", 0.81))
    assert choice is not None
    assert (choice.winner, choice.tied, choice.export) == ("finalist 1", ("finalist 1",), "finalist 1")


def test_who_broke_down_at_a_seed_cannot_win() -> None:
    choice = choose(FINALISTS[:2], runs("finalist 0", 0.8, 0.8) + runs("finalist 1", 0.9, None))
    assert choice is not None
    assert choice.winner == "finalist 0"
    assert choose(FINALISTS, runs("finalist 1", None)) is None
    assert choose(FINALISTS, runs("lora 0", 0.9)) is None


@pytest.mark.parametrize("seeds", [3, 9])  # nine pairs say alone how they scatter: here not at all
def test_equal_scores_at_every_seed_tie_and_those_that_are_lower_at_every_one_do_not(seeds: int) -> None:
    equal = runs("finalist 0", *[0.5] * seeds) + runs("finalist 1", *[0.5] * seeds)
    choice = choose(FINALISTS[:3], equal + runs("finalist 2", *[0.4] * seeds))
    assert choice is not None
    assert choice.tied == ("finalist 0", "finalist 1")


def test_two_pairs_that_differ_alike_do_not_say_that_all_would() -> None:
    both = runs("finalist 0", 0.80, 0.90) + runs("finalist 1", 0.70, 0.80)
    found = gap(both, "finalist 0", "finalist 1", split="test")
    unpaired = total(*(seed_spread(both, f"finalist {number}", split="test") for number in range(2)))
    assert found is not None
    assert found.spread.dof == 3  # its own of one, and two of theirs
    assert found.spread.sd == pytest.approx(unpaired.sd * (2 / 3) ** 0.5)


def test_of_those_that_tie_and_are_of_one_size_the_winner_is_exported() -> None:
    alike = [finalist(number, parameters=100) for number in range(2)]
    choice = choose(alike, runs("finalist 0", 0.5, 0.51, 0.5) + runs("finalist 1", 0.51, 0.5, 0.52))
    assert choice is not None
    assert (choice.winner, choice.tied, choice.export) == ("finalist 1", ("finalist 1", "finalist 0"), "finalist 1")


def test_holm_rejects_in_steps() -> None:
    assert rejected({"a": 0.02, "b": 0.04, "c": 0.9}, alpha=0.1) == {"a", "b"}
    assert rejected({"a": 0.04, "b": 0.04, "c": 0.9}, alpha=0.1) == set()
    assert rejected({}, alpha=0.1) == set()


def test_regret_counts_finalists_that_were_not_confirmed() -> None:
    known = [finalist(0, expected=0.80, expected_sd=0.01), finalist(1, expected=0.80, expected_sd=0.01)]
    unknown = [*known, finalist(2, expected=0.80, expected_sd=0.02)]
    results = runs("finalist 0", 0.80, 0.81, 0.82) + runs("finalist 1", 0.78, 0.77, 0.79)
    few, more = (expected_regret(these, results, "finalist 0", row_variance=0.0) for these in (known, unknown))
    assert few is not None
    assert more is not None
    assert 0 < few < more < 0.02
    assert expected_regret(known, results, "finalist 1", row_variance=0.0) == pytest.approx(few + 0.03, abs=0.01)
    assert expected_regret(known[:1], results, "finalist 0", row_variance=0.0) is None
    broken = results + runs("finalist 2", 0.9, None)  # it cannot be taken
    assert expected_regret(unknown, broken, "finalist 0", row_variance=0.0) == few


def test_regret_is_that_of_normal_beliefs_and_half_of_the_rows_luck_is_everybodys() -> None:
    known = [finalist(0, expected=0.8, expected_sd=0.02), finalist(1, expected=0.79, expected_sd=0.03)]
    results = runs("finalist 0", 0.80, 0.81, 0.82) + runs("finalist 1", 0.78, 0.81, 0.79)
    beliefs = []
    for entrant, fresh in zip(known, (0.81, 2.38 / 3), strict=True):
        noise = seed_spread(results, entrant.name, split="validation").sd ** 2 / 3 + 4e-4 / 2
        of_seeds = seed_spread(results, entrant.name, split="validation").sd ** 2
        prior, mean = entrant.expected_sd**2 + of_seeds, entrant.expected or 0.0
        weight = prior / (prior + noise)
        beliefs.append((mean + weight * (fresh - mean), weight * noise))
    behind, sd = beliefs[0][0] - beliefs[1][0], (beliefs[0][1] + beliefs[1][1]) ** 0.5
    expected = sd * norm.pdf(behind / sd) - behind * norm.sf(behind / sd)
    found = expected_regret(known, results, "finalist 0", row_variance=4e-4)
    assert found == pytest.approx(expected, rel=0.03)


def test_regret_is_that_of_the_worlds_it_was_told_of() -> None:
    """Truth drawn from the prior, seen through noise: the stated regret is the mean of the real one."""
    stated, real = [], []
    for seed in range(WORLDS):
        rng = np.random.default_rng([5, seed])
        entrants = [
            finalist(n, deltas, expected=0.8, expected_sd=0.01) for n, deltas in enumerate((LORA, BITFIT, LORA))
        ]
        worth = {entrant.name: float(rng.normal(0.8, np.hypot(0.01, 0.015))) for entrant in entrants}
        world = World(worth, seed=seed, sd=0.015, shared_sd=0.0)
        results = [world.run(entrant, number) for entrant in entrants for number in range(3)]
        choice = choose(entrants, results)
        assert choice is not None
        stated.append(expected_regret(entrants, results, choice.winner, row_variance=0.0) or 0.0)
        real.append(max(worth.values()) - worth[choice.winner])
    assert np.mean(stated) == pytest.approx(np.mean(real), abs=0.0015)
    assert np.mean(stated) > 0.001
