"""Span corruption keeps every token, in order, in the input or in the target."""

import numpy as np
import pytest

from autodelta.backbones.pretrain.corruption import corrupt, span_counts, stretch_length

FIRST_SENTINEL = 999


def restored(inputs: np.ndarray, targets: np.ndarray) -> list[int]:
    """The stretch that an (input, target) pair was made of: each sentinel replaced by what the target has after it."""
    answers: dict[int, list[int]] = {}
    current: list[int] = []
    for token in targets[:-1].tolist():
        if token > 900:
            current = answers.setdefault(token, [])
        else:
            current.append(token)
    return [piece for token in inputs[:-1].tolist() for piece in (answers[token] if token > 900 else [token])]


@pytest.mark.parametrize("length", [8, 41, 141, 500])
def test_target_and_input_together_restore_the_stretch(length: int) -> None:
    stretch = np.arange(2, 2 + length)
    inputs, targets = corrupt(
        stretch,
        np.random.default_rng(length),
        corruption_rate=0.15,
        mean_span_length=3,
        first_sentinel=FIRST_SENTINEL,
        eos=1,
    )
    assert restored(inputs, targets) == stretch.tolist()
    assert inputs[-1] == targets[-1] == 1


def test_sentinels_count_down_in_order_in_both_sides() -> None:
    inputs, targets = corrupt(
        np.arange(2, 102),
        np.random.default_rng(0),
        corruption_rate=0.15,
        mean_span_length=3,
        first_sentinel=FIRST_SENTINEL,
        eos=1,
    )
    noise, spans = span_counts(100, corruption_rate=0.15, mean_span_length=3)
    expected = [FIRST_SENTINEL - n for n in range(spans)]
    assert [t for t in inputs if t > 900] == [t for t in targets if t > 900] == expected
    assert len(targets) == noise + spans + 1


def test_the_longest_stretch_just_fits_the_input() -> None:
    share = {"corruption_rate": 0.15, "mean_span_length": 3}
    length, target_length = stretch_length(128, **share)
    for rows, fits in ((length, True), (length + 1, False)):
        inputs, targets = corrupt(
            np.arange(rows), np.random.default_rng(1), first_sentinel=FIRST_SENTINEL, eos=1, **share
        )
        assert (len(inputs) <= 128) is fits
        assert not fits or len(targets) == target_length
