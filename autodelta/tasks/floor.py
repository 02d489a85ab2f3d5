"""What can be had of a task without any backbone: the majority class, and TF-IDF with logistic regression; of an
open-ended task the most frequent answer, and that of the nearest row."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autodelta.tasks.task import Task

MAJORITY = "the majority class"
COUNTING = "TF-IDF + logistic regression"
USUAL_ANSWER = "the most frequent answer"
NEAREST = "the answer of the nearest row by TF-IDF"
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
    if task.open_ended:
        usual = majority(everyone, sorted(set(everyone)))
        return {USUAL_ANSWER: [usual] * len(inputs), NEAREST: nearest(texts, labels, inputs)}
    return {
        MAJORITY: [majority(everyone, task.labels)] * len(inputs),
        COUNTING: [str(label) for label in counting(texts, labels).predict(inputs)],
    }


def nearest(texts: Sequence[str], answers: Sequence[str], asked: Sequence[str]) -> list[str]:
    """For each text that is asked about, the answer of the most similar one, by the cosine of TF-IDF vectors."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.neighbors import NearestNeighbors

    vectorizer = TfidfVectorizer(token_pattern=TOKENS, sublinear_tf=True)
    model = NearestNeighbors(n_neighbors=1, metric="cosine").fit(vectorizer.fit_transform(texts))
    return [answers[row] for row in model.kneighbors(vectorizer.transform(asked), return_distance=False)[:, 0]]


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
