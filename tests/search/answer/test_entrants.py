from pathlib import Path

import numpy as np
import pytest

from autodelta.candidate import Candidate
from autodelta.search.answer.entrants import baselines, finalists, longest, rates
from autodelta.search.answer.shrink import row_variance, shrunken
from autodelta.search.records import TrialRecord
from tests.search import fakes
from tests.search.answer.simulated import BITFIT, LORA, candidate


def trial(number: int, score: float | None, parameters: int, *deltas: dict[str, object], **more: object) -> TrialRecord:
    own = more.pop("candidate", None) or candidate(number, *deltas)
    assert isinstance(own, Candidate)
    given = {
        "number": number,
        "score": score,
        "parameters": parameters,
        "state": "complete",
        "candidate": own,
        "methods": own.methods,
        "cap": None,
        "step": 40,
        "device_seconds": 1.0,
        "seed": 1,
        "reason": "",
    }
    return TrialRecord.model_validate({**given, **more})


TRIALS = [
    trial(0, 0.70, 10),
    trial(1, 0.90, 500, LORA, BITFIT),
    trial(2, 0.895, 90, LORA, BITFIT),
    trial(3, 0.85, 50),
    trial(4, 0.85, 70),
    trial(5, 0.88, 900, LORA, BITFIT),
    trial(6, 0.99, 5, state="pruned"),
    trial(7, 0.99, 5, state="infeasible"),
    trial(8, None, 5, state="failed"),
]


def chosen(trials: list[TrialRecord], **more: int) -> list[int | None]:
    return [entrant.trial for entrant in finalists(trials, rows=20_000, metric="accuracy", **more)]


def test_finalists_are_the_best_the_best_single_method_and_a_small_one_of_the_front() -> None:
    assert chosen(TRIALS) == [1, 3, 2, 0]
    assert chosen(TRIALS, most=2) == [1, 3]
    assert chosen(TRIALS[6:]) == []
    assert chosen([TRIALS[8], TRIALS[3]]) == [3]


def test_where_one_method_leads_the_best_combination_is_confirmed_too() -> None:
    singles = [trial(number, 0.9 + number / 1000, 10 * (number + 1)) for number in range(10)]
    found = chosen([*singles, trial(10, 0.8, 500, LORA, BITFIT)])
    assert found[0] == 9
    assert 10 in found
    assert len(found) == 4


def test_the_smallest_of_the_front_that_may_be_as_good_is_confirmed() -> None:
    large = [trial(number, 0.92 - number / 500, 900 - 100 * number, LORA, BITFIT) for number in range(5)]
    others = [trial(10 + number, 0.80 + number / 100, 1000, LORA, BITFIT) for number in range(8)]
    small, poor, single = trial(5, 0.905, 20, LORA, BITFIT), trial(6, 0.5, 10, LORA, BITFIT), trial(7, 0.7, 5)
    found = finalists([*large, *others, small, poor, single], rows=2000, metric="accuracy")
    assert [entrant.trial for entrant in found] == [0, 7, 5, 1]


def test_full_fine_tuning_is_not_the_best_single_method() -> None:
    full = {"method": "full", "roles": ["encoder.self_attn.q"]}
    assert chosen([*TRIALS, trial(9, 0.87, 5000, full)])[:2] == [1, 3]


def test_a_candidate_trained_at_several_seeds_is_one_finalist_with_their_mean() -> None:
    own = candidate(1, LORA, BITFIT)
    found = finalists(
        [trial(0, 0.9, 10, candidate=own), trial(1, 0.7, 10, candidate=own), trial(2, 0.85, 10)],
        rows=500,
        metric="accuracy",
    )
    assert [entrant.trial for entrant in found] == [2, 0]
    assert found[1].searched == pytest.approx(0.8)


def test_shrinking_takes_the_optimism_out_of_the_best_of_many() -> None:
    """Eighty candidates of known worth, each seen once: the best one's score is too high, its shrunken score hardly."""
    seen, worth = [], []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        truth = np.concatenate([rng.normal(0.8, 0.015, 60), rng.uniform(0.4, 0.7, 20)])  # some never learned
        scores = truth + rng.normal(0, np.sqrt(row_variance(0.8, 300, "accuracy")), 80)
        best = shrunken(
            [trial(number, float(score), 10) for number, score in enumerate(scores)], rows=300, metric="accuracy"
        )[0]
        seen.append(best.seen - truth[best.trial.number])
        worth.append(best.expected - truth[best.trial.number])
    assert np.mean(seen) > 0.025
    assert abs(np.mean(worth)) < 0.01
    assert np.sqrt(np.mean(np.square(worth))) < 0.6 * np.sqrt(np.mean(np.square(seen)))


def test_a_lucky_trial_of_a_weak_composition_is_trusted_less() -> None:
    weak = [trial(number, 0.70 + number / 1000, 10) for number in range(10)]
    strong = [trial(10 + number, 0.80 + number / 1000, 10, LORA, BITFIT) for number in range(10)]
    lucky, usual = trial(20, 0.82, 10), trial(21, 0.82, 10, LORA, BITFIT)
    ranked = shrunken([*weak, *strong, lucky, usual], rows=150, metric="accuracy")
    assert ranked[0].trial.number == 21
    assert next(one.expected for one in ranked if one.trial.number == 20) < ranked[0].expected - 0.005


def test_scores_that_differ_by_noise_alone_keep_their_order_and_some_doubt() -> None:
    ranked = shrunken([trial(number, 0.8 + number / 1000, 10) for number in range(9)], rows=100, metric="accuracy")
    assert [one.trial.number for one in ranked] == list(range(8, -1, -1))
    assert ranked[0].expected - ranked[-1].expected < 0.3 * (ranked[0].seen - ranked[-1].seen)
    assert ranked[0].sd > 0.01


def test_how_noisy_a_score_is_and_how_much_is_left_to_doubt_is_told_by_those_that_learned() -> None:
    equal = [trial(number, score, 10) for number, score in enumerate([0.9] * 5 + [0.1] * 5)]
    best = shrunken(equal, rows=100, metric="accuracy")[0]
    share = 0.2  # what is left: true scores are taken to differ by at least a quarter of the noise
    assert best.sd == pytest.approx((share * row_variance(0.9, 100, "accuracy")) ** 0.5)


def test_one_trial_of_a_composition_is_shrunken_towards_all() -> None:
    others = [trial(number, 0.78 + number / 200, 10) for number in range(10)]
    best = shrunken([*others, trial(10, 0.95, 10, LORA, BITFIT)], rows=100, metric="accuracy")[0]
    assert best.trial.number == 10
    assert 0.83 < best.expected < 0.93


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("score", [0.35, 0.7, 0.9])
def test_scores_that_are_all_equal_are_kept_without_a_word(score: float) -> None:
    ranked = shrunken([trial(number, score, 10) for number in range(7)], rows=40, metric="accuracy")
    assert [one.expected for one in ranked] == pytest.approx([score] * 7)


def test_with_endless_rows_nothing_is_shrunken() -> None:
    ranked = shrunken(TRIALS, rows=10**9, metric="accuracy")
    assert [one.expected for one in ranked] == pytest.approx([one.seen for one in ranked], abs=1e-4)


def test_a_correlation_is_surer_the_higher_it_is() -> None:
    assert row_variance(0.9, 100, "pearson") < row_variance(0.1, 100, "pearson")
    assert row_variance(0.5, 100, "accuracy") == pytest.approx(0.0025)
    assert row_variance(1.0, 100, "accuracy") > 0
    assert row_variance(1.0, 100, "pearson") > 0


def test_baselines_train_as_long_as_anything_in_the_space_at_three_learning_rates(tmp_path: Path) -> None:
    space = fakes.space(tmp_path)
    found = baselines(space)
    assert [entrant.rival for entrant in found] == ["lora"] * 3 + ["full"] * 3
    lora, full = found[0], found[3]
    assert lora.candidate.deltas[0].roles == tuple(
        sorted(f"{stack}_attn.{part}" for stack in ("encoder.self", "decoder.self", "decoder.cross") for part in "qv")
    )
    assert lora.candidate.deltas[0].encoder_blocks is None
    assert full.parameters == space.shape.count_parameters()
    assert all(entrant.candidate.training == longest(space) for entrant in found)
    assert (longest(space).steps, longest(space).batch_size) == (80, 8)
    for entrant in found:
        entrant.candidate.check(space.shape)
        assert entrant.parameters == entrant.candidate.count_parameters(space.shape)
    assert len({entrant.name for entrant in found}) == 6


def test_baselines_at_learning_rates_that_are_nearly_the_same_have_names_of_their_own(tmp_path: Path) -> None:
    """Results are told apart by name: the runs of a name that two have would be asked for without end."""
    narrow = fakes.SPACE.replace("low: 0.0001, high: 0.01", "low: 0.001, high: 0.0011")
    found = baselines(fakes.space(tmp_path, narrow))
    assert len({entrant.candidate for entrant in found}) == len({entrant.name for entrant in found}) == 6


def test_learning_rates_are_spread_over_those_of_the_space_the_middle_first(tmp_path: Path) -> None:
    space = fakes.space(tmp_path)
    assert rates(space, "lora") == pytest.approx((1e-3, 2.15e-4, 4.64e-3), rel=0.01)
    assert rates(space, "bitfit") == (0.001,)
    assert rates(space, "full") == (1e-3, 3e-4, 3e-3)
    assert all(space.genes["lora.learning_rate"].contains(rate) for rate in rates(space, "lora"))
    listed = fakes.SPACE.replace("{low: 0.0001, high: 0.01, log: true}", "[0.0001, 0.0003, 0.001, 0.003, 0.01]")
    assert rates(fakes.space(tmp_path, listed), "lora") == rates(space, "lora")


def test_on_a_tiny_backbone_the_rank_is_what_fits(tmp_path: Path) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(fakes.SPACE)
    shape = fakes.SHAPE.model_copy(update={"d_kv": 1})
    lora = baselines(fakes.Space.load(path, shape))[0]
    lora.candidate.check(shape)
    assert lora.candidate.deltas[0].config.model_dump()["rank"] == 4
