"""What can be had of a task without any backbone: the majority class, and TF-IDF with logistic regression."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autodelta.tasks.task import Task

MAJORITY = "the majority class"
COUNTING = "TF-IDF + logistic regression"
STRENGTHS = (0.3, 1.0, 3.0, 10.0)  # C
LONGEST = (1, 2)  # words alone, or words and pairs of neighbours
FOLDS = 3
ROWS = 5000  # of train, drawn by class: more make the floor slower and hardly higher
WEIGHTS = 2_000_000  # of the classifier: its fits, two dozen, then take minutes and a gigabyte at most
TOKENS = r"\w+|[^\w\s]"


def floors(task: "Task", *, rows: int = ROWS) -> dict[str, list[str]]:
    """A predicted label for every row of test, by floor; both learn from train alone.

    Words are counted in the rendered input, which is what the backbone reads.
    """
    train = task.limited(rows, 0).examples("train")
    texts, labels = [row.input for row in train], [row.label for row in train]
    inputs = [row.input for row in task.examples("test")]
    everyone = [example.label for example in task.examples("train")]
    return {
        MAJORITY: [majority(everyone, task.labels)] * len(inputs),
        COUNTING: [str(label) for label in counting(texts, labels).predict(inputs)],
    }


def majority(labels: Sequence[str], order: Sequence[str]) -> str:
    """The most frequent label; of equally frequent ones the first in that order."""
    counted = Counter(labels)
    return max(order, key=lambda label: counted[label])


def counting(texts: Sequence[str], labels: Sequence[str], *, longest: Sequence[int] = LONGEST) -> Any:
    """A fitted scikit-learn classifier of texts on n-grams of up to so many words: cross-validation on these rows
    chooses how many, and C. Where there are many classes, the rarer n-grams are left out.

    Rows of a single class give a classifier that always answers with it.
    """
    from sklearn.dummy import DummyClassifier
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold
    from sklearn.pipeline import make_pipeline

    counted = Counter(labels)
    smallest = min(counted.values())
    if smallest == len(labels):
        return DummyClassifier(strategy="most_frequent").fit(list(texts), list(labels))
    model = make_pipeline(
        TfidfVectorizer(
            ngram_range=(1, longest[-1]),
            token_pattern=TOKENS,
            sublinear_tf=True,
            max_features=max(1, WEIGHTS // len(counted)),
        ),
        LogisticRegression(max_iter=500),
    )
    if smallest < 2:  # a class that cannot stand in two folds: nothing to choose C by
        return model.fit(list(texts), list(labels))
    folds = StratifiedKFold(min(FOLDS, smallest), shuffle=True, random_state=0)
    grid = {"tfidfvectorizer__ngram_range": [(1, most) for most in longest], "logisticregression__C": STRENGTHS}
    return GridSearchCV(model, grid, cv=folds).fit(list(texts), list(labels))
