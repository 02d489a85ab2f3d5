"""Landmarks of a task: how far counting words gets, by cross-validation on a sample of train."""

import warnings
from collections import Counter
from collections.abc import Sequence

FEW, MANY = 128, 1024  # rows
FOLDS = 3


def landmarks(texts: Sequence[str], labels: Sequence[str]) -> dict[str, float]:
    """Accuracy of TF-IDF with logistic regression on few and on more rows, and what that says about the task.

    The rows come in no order that means anything; each class keeps its share of a part.
    """
    few, many = (cross_validated(*_part(texts, labels, rows)) for rows in (FEW, MANY))
    majority = Counter(labels).most_common(1)[0][1] / len(labels)
    return {
        "tfidf_few": few,
        "tfidf_many": many,
        "tfidf_gain": many - few,
        "tfidf_above_majority": (many - majority) / (1 - majority) if majority < 1 else 0.0,
    }


def cross_validated(texts: Sequence[str], labels: Sequence[str]) -> float:
    """Accuracy over ``FOLDS`` folds, each class spread evenly over them; of the one class where there is no other."""
    folds = _folds(labels)
    right = 0
    for fold in range(FOLDS):
        inside = [number for number, found in enumerate(folds) if found != fold]
        outside = [number for number, found in enumerate(folds) if found == fold]
        if not outside or not inside:
            continue
        predicted = _predicted(
            [texts[number] for number in inside],
            [labels[number] for number in inside],
            [texts[number] for number in outside],
        )
        right += sum(labels[number] == said for number, said in zip(outside, predicted, strict=True))
    return right / len(labels)


def _predicted(texts: Sequence[str], labels: Sequence[str], asked: Sequence[str]) -> list[str]:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    if len(set(labels)) == 1:
        return [labels[0]] * len(asked)
    try:
        vectors = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), token_pattern=r"\w+")
        rows = vectors.fit_transform(texts)
    except ValueError:  # texts without a word
        return [Counter(labels).most_common(1)[0][0]] * len(asked)
    with warnings.catch_warnings():  # nearly as many classes as rows, or not quite converged: the score says so itself
        warnings.simplefilter("ignore")
        model = LogisticRegression(C=10.0, max_iter=200).fit(rows, labels)
    return [str(label) for label in model.predict(vectors.transform(asked))]


def _folds(labels: Sequence[str]) -> list[int]:
    """The fold of each row: the rows of a class are dealt out in turn, the next class goes on where it ended."""
    seen: Counter[str] = Counter()
    start = {label: number for number, label in enumerate(sorted(set(labels)))}
    folds = []
    for label in labels:
        folds.append((start[label] + seen[label]) % FOLDS)
        seen[label] += 1
    return folds


def _part(texts: Sequence[str], labels: Sequence[str], rows: int) -> tuple[list[str], list[str]]:
    """So many rows, evenly from the whole, each class by its share."""
    if len(texts) <= rows:
        return list(texts), list(labels)
    order = sorted(range(len(labels)), key=lambda number: labels[number])  # stable: within a class as they came
    kept = sorted(order[number * len(order) // rows] for number in range(rows))
    return [texts[number] for number in kept], [labels[number] for number in kept]
