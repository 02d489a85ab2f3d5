"""Carving validation out of train, and drawing part of a split."""

from collections import Counter

import pytest

from autodelta.tasks.carve import carve, sample


def _rows(**counts: int) -> tuple[list[str], list[str]]:
    labels = [label for label, count in counts.items() for _ in range(count)]
    return labels, [f"text {number}" for number in range(len(labels))]


def test_a_tenth_of_each_class_is_carved() -> None:
    labels, texts = _rows(a=100, b=40, c=3)
    assert Counter(labels[at] for at in carve(labels, texts, 0)) == {"a": 10, "b": 4, "c": 1}


def test_at_most_a_thousand_rows_are_carved() -> None:
    labels, texts = _rows(a=20_000, b=10_000)
    assert Counter(labels[at] for at in carve(labels, texts, 0)) == {"a": 667, "b": 333}


def test_a_class_with_one_row_stays_in_train() -> None:
    labels, texts = _rows(a=10, b=1)
    assert [labels[at] for at in carve(labels, texts, 0)] == ["a"]


def test_rows_of_one_group_stay_together() -> None:
    labels = ["a", "b"] * 60
    groups = [f"passage {at // 4}" for at in range(120)]
    held = {groups[at] for at in carve(labels, groups, 0)}
    kept = {groups[at] for at in set(range(120)) - set(carve(labels, groups, 0))}
    assert len(held) == 3
    assert not held & kept


def test_the_seed_and_nothing_else_decides_what_is_carved() -> None:
    labels, texts = _rows(a=50, b=50)
    assert carve(labels, texts, 0) == carve(labels, texts, 0)
    assert carve(labels, texts, 0) != carve(labels, texts, 1)
    back = carve(labels[::-1], texts[::-1], 0)
    assert {texts[::-1][at] for at in back} == {texts[at] for at in carve(labels, texts, 0)}


def test_the_order_of_a_draw_is_the_same_on_every_machine() -> None:
    assert carve(["a"] * 30, [f"text {number}" for number in range(30)], 0) == [25, 27, 28]


@pytest.mark.parametrize("size", [3, 4, 20, 77])
def test_a_sample_has_its_size_and_shows_each_class(size: int) -> None:
    labels, texts = _rows(a=70, b=29, c=1)
    drawn = Counter(labels[at] for at in sample(labels, texts, size=size, seed=3))
    assert drawn.total() == size
    assert set(drawn) == {"a", "b", "c"}
    assert abs(drawn["a"] - 0.7 * size) <= 2


def test_a_sample_keeps_repeated_rows_apart() -> None:
    assert len(sample(["a"] * 8, ["same"] * 8, size=5, seed=0)) == 5
