"""Metrics over labels."""

import pytest

from autodelta.errors import UserError
from autodelta.tasks.metrics import METRICS, SIGNED, ends, score

GOLD = ["yes", "yes", "yes", "no"]


@pytest.mark.parametrize(
    ("metric", "gold", "predicted", "expected"),
    [
        ("accuracy", GOLD, ["yes", "yes", "no", "no"], 0.75),
        ("macro_f1", GOLD, ["yes", "yes", "no", "no"], (0.8 + 2 / 3) / 2),
        ("matthews", GOLD, ["yes", "yes", "no", "no"], 1 / 3**0.5),
        ("pearson", ["0", "1", "2"], ["0.0", "1.0", "5.0"], 0.944911),
        ("spearman", ["0", "1", "2"], ["0.0", "1.0", "5.0"], 1.0),
    ],
)
def test_metrics_agree_with_sums_by_hand(metric: str, gold: list[str], predicted: list[str], expected: float) -> None:
    assert score(metric, gold, predicted) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("metric", METRICS)
def test_the_same_answer_everywhere_scores_a_finite_number(metric: str) -> None:
    assert 0 <= score(metric, ["1", "2", "3"], ["2", "2", "2"]) <= 1 / 3


@pytest.mark.parametrize("metric", METRICS)
def test_no_answer_scores_below_the_least_that_a_metric_can_be(metric: str) -> None:
    assert score(metric, ["1", "2"], ["2", "1"]) == pytest.approx(ends(metric)[0])


@pytest.mark.parametrize("metric", METRICS)
def test_right_answers_score_one(metric: str) -> None:
    assert score(metric, ["1", "2", "3"], ["1", "2", "3"]) == pytest.approx(1)


def test_an_unknown_metric_names_the_nearest() -> None:
    with pytest.raises(UserError, match="unknown metric 'acuracy'; did you mean 'accuracy'"):
        score("acuracy", GOLD, GOLD)


@pytest.mark.parametrize("predicted", [[], ["yes"]])
def test_predictions_must_match_the_gold_labels_one_by_one(predicted: list[str]) -> None:
    with pytest.raises(ValueError, match="a prediction for each gold label"):
        score("accuracy", GOLD, predicted)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("gold", [["1", "1"], ["1", "2"]])
@pytest.mark.parametrize("metric", SIGNED)
def test_a_correlation_with_a_constant_is_zero_without_a_warning(metric: str, gold: list[str]) -> None:
    assert score(metric, gold, ["1", "1"]) == 0
