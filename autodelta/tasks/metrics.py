"""Metrics: gold and predicted labels in, one number out, higher is better; scikit-learn and scipy do the sums.

Those of texts are means over rows. Exact match and token F1 are SQuAD's (Rajpurkar et al. 2016, arXiv 1606.05250), as
its official script normalises; ROUGE-L is the F1 of the longest common subsequence (Lin 2004), on lower-case words
without stemming, as the rouge_score package has it by default.
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache

from autodelta.errors import one_of

ORDINAL = ("pearson", "spearman")  # these read the labels as numbers
CLASSES = ("accuracy", "macro_f1", "matthews", *ORDINAL)  # of labels
SIGNED = ("matthews", *ORDINAL)  # correlations: these fall to -1, the others to 0
PAIRS = 2**16  # of texts whose score is kept: an answer's intervals ask for those of the same rows forty times over


def check_metric(metric: str, *, texts: bool) -> None:
    """Raises UserError where there is no metric of that name for labels, or for texts."""
    if metric not in (TEXTS if texts else CLASSES):
        raise one_of("metric", metric, tuple(TEXTS) if texts else CLASSES)


def ends(metric: str) -> tuple[float, float]:
    """The least and the most that a metric can be."""
    return (-1.0 if metric in SIGNED else 0.0), 1.0


def score(metric: str, gold: Sequence[str], predicted: Sequence[str]) -> float:
    """The metric of predictions against gold labels, both as labels (not words) or as texts, in the same order.

    macro_f1 averages over the labels that occur in either. A correlation with a constant is undefined and counts as 0,
    as Matthews' does.

    Raises:
        UserError: the metric is unknown.
        ValueError: there is nothing to score, or not one prediction for each gold label.
    """
    if metric not in METRICS:
        raise one_of("metric", metric, METRICS)
    if not gold or len(gold) != len(predicted):
        raise ValueError(f"a score needs a prediction for each gold label: {len(predicted)} for {len(gold)}")
    if metric in TEXTS:
        return sum(TEXTS[metric](*pair) for pair in zip(gold, predicted, strict=True)) / len(gold)
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


@lru_cache(PAIRS)
def exact_match(gold: str, predicted: str) -> float:
    """1 where two texts are the same but for case, punctuation, articles and spaces."""
    return float(_normalised(gold) == _normalised(predicted))


@lru_cache(PAIRS)
def token_f1(gold: str, predicted: str) -> float:
    """F1 of the words that two texts have in common, each as often as in both."""
    theirs, ours = _normalised(gold).split(), _normalised(predicted).split()
    if not theirs or not ours:
        return float(theirs == ours)
    return _f1(sum((Counter(theirs) & Counter(ours)).values()), len(theirs), len(ours))


@lru_cache(PAIRS)
def rouge_l(gold: str, predicted: str) -> float:
    """F1 of the longest sequence of words that stand in both texts in that order."""
    theirs, ours = (re.findall(r"[a-z0-9]+", text.lower()) for text in (gold, predicted))
    row = [0] * (len(ours) + 1)
    for word in theirs:
        before = row
        row = [0]
        for at, other in enumerate(ours):
            row.append(before[at] + 1 if word == other else max(before[at + 1], row[at]))
    return _f1(row[-1], len(theirs), len(ours))


def _f1(common: int, gold: int, predicted: int) -> float:
    return 2 * common / (gold + predicted) if common else 0.0


def _normalised(text: str) -> str:
    text = "".join(one for one in text.lower() if one not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


TEXTS: dict[str, Callable[[str, str], float]] = {"exact_match": exact_match, "token_f1": token_f1, "rouge_l": rouge_l}
METRICS = (*CLASSES, *TEXTS)


def _correlation(metric: str, gold: list[float], predicted: list[float]) -> float:
    from scipy import stats

    found = stats.pearsonr(gold, predicted) if metric == "pearson" else stats.spearmanr(gold, predicted)
    return float(found.statistic)
