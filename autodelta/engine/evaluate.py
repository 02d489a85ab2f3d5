"""Scores a task by ranking its label words: the label whose text the model finds most likely is the prediction. Where
answers are free texts, they are written.

Source: rank classification, as in Brown et al. 2020 (arXiv 2005.14165) and Sanh et al. 2022 (arXiv 2110.08207): the sum
of the target tokens' log-probabilities, the closing token included.
"""

from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autodelta.candidate import TEXT, Loss
from autodelta.engine.activations import Activations
from autodelta.engine.encode import Encoded, pad, padded
from autodelta.engine.forward import Forward, Memory
from autodelta.engine.generate import written
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
    tokenizer: Any = None,
) -> Scored:
    """The task's metric on an encoded split, higher is better, and the most likely label of every row, by the
    probabilities that the loss has trained; of an open-ended task the answer that is written for it.

    Args:
        forward: the way through the backbone.
        encoded: the split.
        task: of it.
        loss: that was trained with.
        rows: how many go at once.
        kept: activations of the frozen part.
        tokenizer: the backbone's, of an open-ended task.

    Raises:
        OutOfMemory: one row does not fit.
    """
    if task.open_ended:
        answers, log_loss = written_answers(forward, encoded, task, tokenizer, rows=rows, kept=kept)
        gold = [encoded.answers[number] for number in encoded.labels]
        return Scored(score=task.score(gold, list(answers)), log_loss=log_loss, predictions=answers)
    found = label_log_likelihoods(forward, encoded, loss=loss, rows=rows, kept=kept)
    predictions = _likeliest(found, task)
    gold = [task.labels[number] for number in encoded.labels]
    return Scored(
        score=task.score(gold, list(predictions)), log_loss=_log_loss(found, encoded.labels), predictions=predictions
    )


def label_rows(
    forward: Forward, encoded: Encoded, view: View, *, loss: Loss = TEXT, tokenizer: Any = None
) -> tuple[str, ...]:
    """The most likely label of every row, which need not have one; where answers are free texts, the one that is
    written for it, with the backbone's ``tokenizer``.

    Raises:
        OutOfMemory: one row does not fit.
    """
    if view.open_ended:
        return written_answers(forward, encoded, view, tokenizer)[0]
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


@torch.no_grad()
def written_answers(
    forward: Forward,
    encoded: Encoded,
    view: View,
    tokenizer: Any,
    *,
    rows: Rows | None = None,
    kept: Activations | None = None,
) -> tuple[tuple[str, ...], float | None]:
    """The answer that is written for every row, and the mean loss of the right ones, nats a token; None of rows that
    have none.

    Raises:
        OutOfMemory: one row does not fit.
    """
    rows, kept = rows or Rows(ROWS), kept or Activations(0)
    answers, losses, left = [""] * len(encoded), [], encoded.by_length()
    while len(left):
        found = rows.fit(partial(_write_first, forward, encoded, left, view, kept, tokenizer.eos_token_id))
        for row, text in zip(left, tokenizer.batch_decode(found.ids, skip_special_tokens=True), strict=False):
            answers[row] = " ".join(text.split())
        losses.append((found.loss, found.tokens))
        left = left[len(found.ids) :]
    tokens = sum(count for _, count in losses)
    return tuple(answers), sum(loss for loss, _ in losses) / tokens if tokens else None


class _Written(NamedTuple):
    ids: Tensor  # (rows, tokens)
    loss: float  # the sum over the right answers' tokens, nats
    tokens: int  # of these


def _write_first(
    forward: Forward,
    encoded: Encoded,
    order: NDArray[np.int64],
    view: View,
    kept: Activations,
    end: int,
    number: int,
) -> _Written:
    """The answers for the first rows in an order, the longest first; on a CPU perhaps for fewer."""
    memory, taken = _entered(forward, encoded, order, kept, number)
    if forward.reads_frozen and not memory.products:
        memory = memory._replace(products=forward.products(memory))  # once, for writing and for the loss
    ids = written(forward, memory, most=view.max_new_tokens, end=end, pad=encoded.pad)
    if not encoded.targets:
        return _Written(ids.cpu(), 0.0, 0)
    targets = pad([encoded.targets[encoded.labels[row]] for row in taken], -100)
    tokens = int(targets.ne(-100).sum())
    return _Written(ids.cpu(), float(forward.loss(memory, targets)) * tokens, tokens)


def _entered(
    forward: Forward, encoded: Encoded, order: NDArray[np.int64], kept: Activations, number: int
) -> tuple[Memory, NDArray[np.int64]]:
    """The memory of the first rows in an order, and which these are; on a CPU perhaps fewer than ``number``."""
    if forward.device.type == "cpu":
        number = min(number, max(1, TOKENS // int(encoded.lengths[order[0]])))
    ids, mask = padded([encoded.inputs[row] for row in order[:number]], encoded.pad)
    return kept.encode(forward, ids, mask, device=forward.device), order[:number]


def _score_first(
    forward: Forward, encoded: Encoded, order: NDArray[np.int64], tree: LabelTree, kept: Activations, number: int
) -> NDArray[np.float32]:
    """(number, labels): of the first rows in an order, the longest first; on a CPU perhaps of fewer."""
    memory, _ = _entered(forward, encoded, order, kept, number)
    scores: NDArray[np.float32] = log_likelihoods(forward, memory, tree).float().cpu().numpy()
    return scores
