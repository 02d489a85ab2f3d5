"""Batches cover the split, depend on (seed, step) alone, and hold rows of about one length."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from autodelta.engine.encode import Encoded, batch_rows, batches, collate, pad, padded


def split(rows: int) -> Encoded:
    lengths = np.random.default_rng(0).integers(3, 40, rows)
    return Encoded(
        inputs=tuple(np.full(length, 5 + number) for number, length in enumerate(lengths)),
        labels=np.arange(rows) % 2,
        targets=(np.array([7, 1]), np.array([8, 9, 1])),
        pad=0,
    )


def test_an_epoch_shows_every_row_once_but_for_an_incomplete_batch() -> None:
    seen = [int(row[0]) for batch in islice(batches(split(50), batch_size=8, seed=1), 6) for row in batch.input_ids]
    assert len(seen) == 48
    assert len(set(seen)) == 48


@pytest.mark.parametrize(("rows", "batch_size"), [(50, 32), (63, 32), (100, 16), (250, 32), (500, 64), (530, 16)])
def test_rows_that_an_epoch_leaves_out_are_drawn_and_not_the_longest(rows: int, batch_size: int) -> None:
    encoded, epochs = split(rows), 60
    steps = epochs * (rows // batch_size)
    seen = np.bincount(np.concatenate([*islice(batch_rows(encoded, batch_size=batch_size, seed=1), steps)]))
    left_out = 1 - rows // batch_size * batch_size / rows
    lengths = [len(row) for row in encoded.inputs]
    assert len(seen) == rows
    assert seen.min() > epochs * (1 - left_out) - 6 * (epochs * max(left_out, 0.02)) ** 0.5
    assert abs(np.corrcoef(lengths, seen)[0, 1]) < 4 / rows**0.5


def test_going_on_from_a_step_gives_the_batches_of_an_unbroken_run() -> None:
    whole = list(islice(batches(split(50), batch_size=8, seed=1), 20))
    rest = list(islice(batches(split(50), batch_size=8, seed=1, first_step=9), 11))
    assert all(a.input_ids.equal(b.input_ids) for a, b in zip(whole[9:], rest, strict=True))


def test_another_seed_gives_another_order() -> None:
    one, two = (next(batches(split(50), batch_size=8, seed=seed)) for seed in (1, 2))
    assert not (one.input_ids.shape == two.input_ids.shape and one.input_ids.equal(two.input_ids))


def test_fewer_rows_than_a_batch_make_one_smaller_batch() -> None:
    assert [len(batch.input_ids) for batch in islice(batches(split(5), batch_size=8, seed=0), 3)] == [5, 5, 5]


def test_rows_of_a_batch_are_of_about_one_length() -> None:
    encoded = split(256)
    found = list(islice(batches(encoded, batch_size=8, seed=0), 32))
    padded = sum(batch.mask.numel() for batch in found)
    used = sum(int(batch.mask.sum()) for batch in found)
    assert used / padded > 0.9


def test_padding_is_masked_in_inputs_and_ignored_in_targets() -> None:
    batch = collate(split(4), np.array([0, 1]))
    assert batch.targets.tolist() == [[7, 1, -100], [8, 9, 1]]
    assert batch.mask.sum(1).tolist() == [len(row) for row in split(4).inputs[:2]]


@pytest.mark.parametrize("value", [0, -100])
def test_pad_keeps_rows_and_fills_with_the_value(value: int) -> None:
    assert pad([np.array([1, 2, 3]), np.array([4])], value).tolist() == [[1, 2, 3], [4, value, value]]


def test_a_paddings_token_that_stands_in_a_row_is_seen() -> None:
    ids, mask = padded([np.array([3, 0, 1]), np.array([4, 1])], 0)
    assert ids.tolist() == [[3, 0, 1], [4, 1, 0]]
    assert mask.tolist() == [[1, 1, 1], [1, 1, 0]]
    assert collate(replace(split(1), inputs=(np.array([3, 0, 1]),)), np.array([0])).mask.tolist() == [[1, 1, 1]]
