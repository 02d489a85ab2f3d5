"""Scores a task by ranking its label words: the label whose text the model finds most likely is the prediction.

Source: rank classification, as in Brown et al. 2020 (arXiv 2005.14165) and Sanh et al. 2022 (arXiv 2110.08207): the sum
of the target tokens' log-probabilities, the closing token included.
"""

from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from autodelta.candidate import TEXT, Loss
from autodelta.engine.activations import Activations
from autodelta.engine.encode import Encoded, pad
from autodelta.engine.forward import Forward
from autodelta.engine.labels import LabelTree, log_likelihoods
from autodelta.engine.memory import Rows
from autodelta.engine.report import Scored
from autodelta.tasks import Task, View

ROWS = 64
TOKENS = 2048  # of the encoder in one pass on a CPU: more fall out of its caches and pad short rows to long ones
DECODED_POSITIONS = 1024  # rows x nodes of the tree of labels in one pass of the decoder


def evaluate(
    forward: Forward,
    encoded: Encoded,
    task: Task,
    *,
    loss: Loss = TEXT,
    rows: Rows | None = None,
    kept: Activations | None = None,
) -> Scored:
    """The task's metric on an encoded split, higher is better, and the most likely label of every row, by the
    probabilities that the loss has trained.

    Raises:
        OutOfMemory: one row does not fit.
    """
    found = label_log_likelihoods(forward, encoded, loss=loss, rows=rows, kept=kept)
    predictions = _likeliest(found, task)
    gold = [task.labels[number] for number in encoded.labels]
    return Scored(
        score=task.score(gold, list(predictions)), log_loss=_log_loss(found, encoded.labels), predictions=predictions
    )


def label_rows(forward: Forward, encoded: Encoded, view: View, *, loss: Loss = TEXT) -> tuple[str, ...]:
    """The most likely label of every row, which need not have one.

    Raises:
        OutOfMemory: one row does not fit.
    """
    return _likeliest(label_log_likelihoods(forward, encoded, loss=loss), view)


def _likeliest(found: NDArray[np.float32], view: View) -> tuple[str, ...]:
    return tuple(view.labels[number] for number in found.argmax(axis=1))


def _log_loss(found: NDArray[np.float32], right: NDArray[np.int64]) -> float:
    """Mean negative log-probability of the right labels, where a row's labels share all probability: nats a row."""
    scores = found.astype(np.float64)
    missed = np.logaddexp.reduce(scores, axis=1) - scores[np.arange(len(right)), right]
    return float(missed.mean())


@torch.no_grad()
def label_log_likelihoods(
    forward: Forward,
    encoded: Encoded,
    *,
    loss: Loss = TEXT,
    rows: Rows | None = None,
    kept: Activations | None = None,
) -> NDArray[np.float32]:
    """Log-likelihood of every label's text for every row, among all texts or among the labels': (rows, labels).

    The order and grouping of the rows depend on the split alone, so that a score is the same wherever it is taken; only
    where memory runs out, fewer rows go at once, as ``rows`` then remembers.
    """
    tree = LabelTree.of(encoded.targets, start=forward.start, among=loss != TEXT)
    rows, kept = rows or Rows(ROWS), kept or Activations(0)
    rows.at_most(DECODED_POSITIONS // len(tree))
    found = np.empty((len(encoded), tree.count), dtype=np.float32)
    left = encoded.by_length()
    while len(left):
        scores = rows.fit(partial(_score_first, forward, encoded, left, tree, kept))
        found[left[: len(scores)]] = scores
        left = left[len(scores) :]
    return found


def _score_first(
    forward: Forward, encoded: Encoded, order: NDArray[np.int64], tree: LabelTree, kept: Activations, number: int
) -> NDArray[np.float32]:
    """(number, labels): of the first rows in an order, the longest first; on a CPU perhaps of fewer."""
    if forward.device.type == "cpu":
        number = min(number, max(1, TOKENS // int(encoded.lengths[order[0]])))
    ids = pad([encoded.inputs[row] for row in order[:number]], encoded.pad)
    memory = kept.encode(forward, ids, ids.ne(encoded.pad).long(), device=forward.device)
    scores: NDArray[np.float32] = log_likelihoods(forward, memory, tree).float().cpu().numpy()
    return scores
