import numpy as np
import pytest

from autodelta.tasks.floor import COUNTING, MAJORITY, counting, floors, majority
from autodelta.tasks.task import Row, Task, assemble
from autodelta.tasks.view import View

VIEW = View(
    name="dogs",
    inputs=("sentence",),
    template="dogs {sentence}",
    labels=("no", "yes"),
    words={"no": "no", "yes": "yes"},
    metric="accuracy",
)


def sentences(rows: int, *, seed: int, share: float = 0.7) -> list[Row]:
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(rows):
        dog = rng.random() < share
        words = [str(rng.choice(["red", "blue"])), "dog" if dog else "cat", str(rng.choice(["runs", "sleeps"]))]
        found.append(Row((" ".join(words),), "yes" if dog else "no"))
    return found


def task(train: list[Row], test: list[Row]) -> Task:
    return assemble(VIEW, {"train": train, "validation": test[:5], "test": test})


def test_the_floors_answer_every_row_from_train_alone() -> None:
    rows = task(sentences(60, seed=1), sentences(20, seed=2, share=0.3))
    found = floors(rows)
    gold = [row.label for row in rows.rows["test"]]
    assert found[MAJORITY] == ["yes"] * 20  # the majority of train, though not of test
    assert rows.score(gold, found[COUNTING]) == 1.0
    assert found == floors(rows)


def test_the_majority_is_counted_in_the_whole_of_train_also_where_rows_are_capped() -> None:
    train = [Row((f"a {number}",), "yes") for number in range(9)] + [Row((f"b {number}",), "no") for number in range(8)]
    assert floors(task(train, train), rows=4)[MAJORITY] == ["yes"] * 17


def test_of_equally_frequent_labels_the_first_is_the_majority() -> None:
    assert majority(["a", "b", "b", "a"], ("b", "a")) == "b"


def test_the_order_of_two_words_is_seen_in_pairs_alone() -> None:
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.permutation(["dog", "cat", "x", "y", "z"])) for _ in range(400)]
    labels = ["yes" if "dog cat" in text else "no" for text in texts]
    hit, miss = "z dog cat x y", "z cat dog x y"
    assert list(counting(texts, labels).predict([hit, miss])) == ["yes", "no"]
    assert len(set(counting(texts, labels, longest=(1,)).predict([hit, miss]))) == 1


def test_of_many_classes_only_frequent_words_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """1,000 classes with all pairs of words are 60 million weights: half an hour and 13 GB when a search is over."""
    monkeypatch.setattr("autodelta.tasks.floor.WEIGHTS", 60)
    labels = [f"{number}" for number in range(20)]
    found = counting([f"a b {label}" for label in labels], labels)
    assert set(found["tfidfvectorizer"].vocabulary_) == {"a", "b", "a b"}


@pytest.mark.parametrize(("labels", "expected"), [(["a", "a", "a"], {"a"}), (["a", "a", "b"], {"a", "b"})])
def test_classes_too_small_for_folds_still_give_an_answer(labels: list[str], expected: set[str]) -> None:
    assert set(counting(["x one", "x two", "y three"], labels).predict(["x one", "y three"])) <= expected
