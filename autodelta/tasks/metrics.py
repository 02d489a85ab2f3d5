"""Metrics: gold and predicted labels in, one number out, higher is better; scikit-learn and scipy do the sums."""

from collections.abc import Sequence

from autodelta.errors import one_of

ORDINAL = ("pearson", "spearman")  # these read the labels as numbers
METRICS = ("accuracy", "macro_f1", "matthews", *ORDINAL)
SIGNED = ("matthews", *ORDINAL)  # correlations: these fall to -1, the others to 0


def check_metric(metric: str) -> None:
    """Raises UserError where there is no metric of that name."""
    if metric not in METRICS:
        raise one_of("metric", metric, METRICS)


def ends(metric: str) -> tuple[float, float]:
    """The least and the most that a metric can be."""
    return (-1.0 if metric in SIGNED else 0.0), 1.0


def score(metric: str, gold: Sequence[str], predicted: Sequence[str]) -> float:
    """The metric of predictions against gold labels, both as labels (not words), in the same order.

    macro_f1 averages over the labels that occur in either. A correlation with a constant is undefined and counts as 0,
    as Matthews' does.

    Raises:
        UserError: the metric is unknown.
        ValueError: there is nothing to score, or not one prediction for each gold label.
    """
    check_metric(metric)
    if not gold or len(gold) != len(predicted):
        raise ValueError(f"a score needs a prediction for each gold label: {len(predicted)} for {len(gold)}")
    if metric in SIGNED and (len(set(gold)) == 1 or len(set(predicted)) == 1):
        return 0.0
    if metric in ORDINAL:
        return _correlation(metric, [float(label) for label in gold], [float(label) for label in predicted])
    from sklearn import metrics

    if metric == "accuracy":
        return float(metrics.accuracy_score(gold, predicted))
    if metric == "matthews":
        return float(metrics.matthews_corrcoef(gold, predicted))
    return float(metrics.f1_score(gold, predicted, average="macro", zero_division=0.0))


def _correlation(metric: str, gold: list[float], predicted: list[float]) -> float:
    from scipy import stats

    found = stats.pearsonr(gold, predicted) if metric == "pearson" else stats.spearmanr(gold, predicted)
    return float(found.statistic)
