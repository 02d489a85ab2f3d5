"""Task features are finite, named, seeded by nothing, blind to the test split, and say what they should."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from autodelta.meta.features import (
    BACKBONE,
    ENCODER,
    FEATURES,
    backbone_features,
    encoder_features,
    features,
)
from autodelta.meta.landmark import cross_validated
from autodelta.tasks.task import Row, Task
from autodelta.tasks.view import View
from tests.search.fakes import SHAPE


def a_task(
    train: Sequence[tuple[str, ...]], labels: Sequence[str], *, kind: str = "nli", test: str = "anything"
) -> Task:
    inputs = tuple(f"field{number}" for number in range(len(train[0])))
    names = tuple(sorted({*labels, "no", "yes"}))
    view = View(
        name="made",
        inputs=inputs,
        template=" ".join(f"{{{name}}}" for name in inputs),
        labels=names,
        words={name: name for name in names},
        metric="accuracy",
    )
    rows = tuple(Row(fields, label) for fields, label in zip(train, labels, strict=True))
    tested = (Row(tuple(test for _ in inputs), labels[0]),)
    return Task(**dict(view), kind=kind, rows={"train": rows, "validation": rows[:6], "test": tested})


def sentences(number: int) -> tuple[list[tuple[str, ...]], list[str]]:
    """The label can be read off one word."""
    rng = np.random.default_rng(number)
    labels = ["yes" if row % 2 else "no" for row in range(number)]
    texts = [(f"the {'good' if label == 'yes' else 'bad'} thing {rng.integers(9)}",) for label in labels]
    return texts, labels


def test_features_are_those_of_the_list_in_its_order_and_finite() -> None:
    found = features(a_task(*sentences(60)))
    assert tuple(found) == FEATURES
    assert all(math.isfinite(value) for value in found.values())


def test_features_are_the_same_twice_and_do_not_look_at_test() -> None:
    texts, labels = sentences(60)
    assert features(a_task(texts, labels)) == features(a_task(texts, labels, test="of another kind altogether"))


def test_sizes_and_balance_say_how_many_rows_and_labels_there_are() -> None:
    texts, labels = sentences(60)
    even = features(a_task(texts, labels))
    assert even["log_train_rows"] == pytest.approx(math.log(60))
    assert even["label_entropy"] == pytest.approx(1)
    uneven = features(a_task(texts, ["yes"] * 54 + ["no"] * 6))
    assert uneven["majority_share"] == pytest.approx(0.9)
    assert uneven["label_entropy"] < 0.5


def test_the_landmark_is_high_where_words_tell_the_label_and_at_the_majority_where_they_do_not() -> None:
    texts, labels = sentences(60)
    assert features(a_task(texts, labels))["tfidf_above_majority"] > 0.9
    rng = np.random.default_rng(0)
    random = [str(rng.choice(["yes", "no"])) for _ in labels]
    assert abs(features(a_task(texts, random))["tfidf_above_majority"]) < 0.6


def test_a_pair_says_how_much_its_parts_overlap_and_a_single_text_says_that_it_is_none() -> None:
    pairs = [("a b c d", "a b c d" if row % 2 else "w x y z") for row in range(20)]
    found = features(a_task(pairs, ["yes" if row % 2 else "no" for row in range(20)]))
    assert (found["is_pair"], found["overlap_mean"], found["overlap_by_label"]) == (1.0, 0.5, 1.0)
    single = features(a_task(*sentences(20)))
    assert (single["is_pair"], single["overlap_mean"]) == (0.0, 0.0)


@pytest.mark.parametrize(
    "task",
    [
        a_task([("same",)] * 4, ["yes"] * 4),  # one class
        a_task([("a",), ("b",)], ["yes", "no"]),  # one row a class
        a_task([("?!",), ("...",), ("--",), ("!",)], ["yes", "no", "yes", "no"]),  # no word at all
        a_task([("", ""), ("", "b")] * 3, ["yes", "no"] * 3),  # empty fields
    ],
    ids=["one class", "one row a class", "no words", "empty fields"],
)
def test_degenerate_tasks_have_finite_features(task: Task) -> None:
    assert all(math.isfinite(value) for value in features(task).values())


@pytest.mark.parametrize(
    ("kind", "group"), [("entailment", "kind_inference"), ("word sense", "kind_word"), ("unheard of", "kind_other")]
)
def test_a_kind_falls_into_one_group(kind: str, group: str) -> None:
    found = features(a_task(*sentences(20), kind=kind))
    assert [name for name in found if name.startswith("kind_") and found[name]] == [group]


def test_every_row_is_predicted_by_a_model_that_has_not_seen_it() -> None:
    """Each text occurs once, so that remembering helps nothing: a model that saw its own rows would be right."""
    texts = [f"word{number}" for number in range(40)]
    labels = ["yes" if number % 2 else "no" for number in range(40)]
    assert cross_validated(texts, labels) < 0.7


def test_separated_classes_have_separation_and_near_centroids() -> None:
    rng = np.random.default_rng(0)
    labels = ["yes", "no"] * 30
    apart = rng.normal(size=(60, 8)) + 10 * np.array([[label == "yes"] for label in labels])
    mixed = rng.normal(size=(60, 8))
    far, near = encoder_features(apart, labels), encoder_features(mixed, labels)
    assert tuple(far) == ENCODER
    assert far["label_separation"] > 0.9 > 0.2 > near["label_separation"]
    assert far["centroid_accuracy"] == 1.0
    assert near["centroid_accuracy"] < 0.75


def test_vectors_that_are_all_the_same_have_finite_features() -> None:
    found = encoder_features(np.ones((5, 4)), ["a", "a", "a", "a", "b"])
    assert all(math.isfinite(value) for value in found.values())


def test_a_backbone_is_described_by_its_shape() -> None:
    assert tuple(backbone_features(SHAPE)) == BACKBONE
