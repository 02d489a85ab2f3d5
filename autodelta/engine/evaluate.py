"""Scores a task by ranking its label words: the label whose text the model finds most likely is the prediction.

Source: rank classification, as in Brown et al. 2020 (arXiv 2005.14165) and Sanh et al. 2022 (arXiv 2110.08207): the sum
of the target tokens' log-probabilities, the closing token included.
"""

from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from transformers.modeling_outputs import BaseModelOutput

from autodelta.engine.encode import Encoded, pad
from autodelta.engine.memory import Rows
from autodelta.engine.report import Scored
from autodelta.tasks import Task

ROWS = 64
DECODED_SEQUENCES = 512  # rows x labels in one pass of the decoder


def evaluate(model: Any, encoded: Encoded, task: Task, *, rows: Rows | None = None) -> Scored:
    """The task's metric on an encoded split, higher is better, and the most likely label of every row.

    Raises:
        OutOfMemory: one row does not fit.
    """
    likeliest = label_log_likelihoods(model, encoded, rows=rows).argmax(axis=1)
    predictions = tuple(task.labels[number] for number in likeliest)
    gold = [task.labels[number] for number in encoded.labels]
    return Scored(score=task.score(gold, list(predictions)), predictions=predictions)


@torch.no_grad()
def label_log_likelihoods(model: Any, encoded: Encoded, *, rows: Rows | None = None) -> NDArray[np.float32]:
    """Log-likelihood of every label's text for every row: (rows, labels).

    The order and grouping of the rows depend on the split alone, so that a score is the same wherever it is taken; only
    where memory runs out, fewer rows go at once, as ``rows`` then remembers.
    """
    device = next(model.parameters()).device
    targets = pad(encoded.targets, -100).to(device)
    rows = rows or Rows(ROWS)
    rows.at_most(DECODED_SEQUENCES // len(targets))
    found = np.empty((len(encoded), len(targets)), dtype=np.float32)
    left = encoded.by_length()
    while len(left):
        scores = rows.fit(partial(_score_first, model, encoded, left, targets))
        found[left[: len(scores)]] = scores
        left = left[len(scores) :]
    return found


def _score_first(
    model: Any, encoded: Encoded, order: NDArray[np.int64], targets: Tensor, number: int
) -> NDArray[np.float32]:
    """(number, labels): of the first rows in an order."""
    ids = pad([encoded.inputs[row] for row in order[:number]], encoded.pad).to(targets.device)
    scores: NDArray[np.float32] = _score_rows(model, ids, ids.ne(encoded.pad).long(), targets).cpu().numpy()
    return scores


def _score_rows(model: Any, ids: Tensor, mask: Tensor, targets: Tensor) -> Tensor:
    """(rows, labels): the encoder runs once a row, the decoder once a row and label."""
    memory = model.get_encoder()(input_ids=ids, attention_mask=mask).last_hidden_state
    labels, length = targets.shape
    logits = model(
        encoder_outputs=BaseModelOutput(last_hidden_state=memory.repeat_interleave(labels, dim=0)),
        attention_mask=mask.repeat_interleave(labels, dim=0),
        decoder_input_ids=_shifted(targets, model.config).repeat(len(ids), 1),
        use_cache=False,
    ).logits
    every = targets.repeat(len(ids), 1)
    losses = functional.cross_entropy(
        logits.float().reshape(-1, logits.shape[-1]), every.reshape(-1), ignore_index=-100, reduction="none"
    )
    return -losses.view(len(ids), labels, length).sum(-1)


def _shifted(targets: Tensor, config: Any) -> Tensor:
    """Decoder inputs: the start token, then all but the last target."""
    start = torch.full_like(targets[:, :1], config.decoder_start_token_id)
    return torch.cat([start, targets[:, :-1].masked_fill(targets[:, :-1].eq(-100), config.pad_token_id)], dim=1)
