"""Checks a candidate against the limits of a space before it is trained, by measuring it on the worker's device."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from statistics import median
from time import perf_counter

import numpy as np
import torch

from autodelta.backbones import Backbone
from autodelta.candidate import Candidate, Loss
from autodelta.deltas.compose import compose
from autodelta.engine import devices
from autodelta.engine.encode import Batch, Encoded, batch_rows, collate, padded
from autodelta.engine.evaluate import label_log_likelihoods
from autodelta.engine.failures import Violated
from autodelta.engine.forward import Forward
from autodelta.engine.generate import written
from autodelta.engine.schedule import order_seed
from autodelta.engine.train import Trial
from autodelta.limits import Limits

TIMED_ROWS, TIMED_TOKENS = 16, 16
NEVER = -1  # no token's number
TIMES = 5


def check(
    backbone: Backbone,
    candidate: Candidate,
    limits: Limits,
    *,
    seed: int,
    train: Encoded,
    validation: Encoded,
    label_ids: Sequence[Sequence[int]] = (),
) -> None:
    """Measures what the limits speak of, and nothing else.

    Raises:
        Violated: the candidate needs more.
        OutOfMemory: the device has less than one row needs.
    """
    if limits.memory_bytes is not None:
        needed = memory_bytes(backbone, candidate, seed=seed, train=train, label_ids=label_ids)
        if needed > limits.memory_bytes:
            raise Violated("memory", needed, limits.memory_bytes)
    if limits.latency_share is not None:
        share = latency_share(backbone, candidate, validation)
        if share > limits.latency_share:
            raise Violated("latency", share, limits.latency_share)


def memory_bytes(
    backbone: Backbone, candidate: Candidate, *, seed: int, train: Encoded, label_ids: Sequence[Sequence[int]] = ()
) -> int:
    """What the step with the largest batch of a training takes, in the phase where that is most."""
    batch = largest_batch(candidate, train, seed=seed)
    needed = 0
    trial = Trial(backbone, candidate, seed=seed, label_ids=label_ids)
    for phase in range(len(candidate.phases)):
        if phase > 0:
            trial.next_phase()
        trial.rows.fit(partial(trial.gradients, batch))
        needed = max(needed, trial.meter.foreseen)
    return needed


def largest_batch(candidate: Candidate, train: Encoded, *, seed: int) -> Batch:
    """The batch of most tokens among those that the training will see."""
    plan = candidate.training
    stream = batch_rows(train, batch_size=plan.batch_size, seed=order_seed(seed))
    return collate(train, max(islice(stream, plan.steps), key=lambda rows: len(rows) * int(train.lengths[rows].max())))


@torch.no_grad()
def _answer(forward: Forward, rows: Encoded, loss: Loss) -> None:
    """What scoring does with rows; answers are written to ``TIMED_TOKENS``, wherever one would end."""
    if not rows.answers:
        label_log_likelihoods(forward, rows, loss=loss)
        return
    ids, mask = (devices.onto(one, forward.device) for one in padded(rows.inputs, rows.pad))
    written(forward, forward.encode(ids, mask), most=TIMED_TOKENS, end=NEVER, pad=rows.pad)


def latency_share(
    backbone: Backbone, candidate: Candidate, encoded: Encoded, *, clock: Callable[[], float] = perf_counter
) -> float:
    """Time to score a few rows with the deltas on, over that of the bare backbone.

    The two are timed in turn and the median of the ratios is taken, as a machine's speed drifts by more than what a
    small delta costs.
    """
    spread = np.linspace(0, len(encoded) - 1, min(TIMED_ROWS, len(encoded))).astype(np.int64)
    rows = encoded.only(encoded.by_length()[spread])
    bare = Forward(backbone.model)
    changed = Forward(backbone.model, compose(backbone.model, candidate))

    def seconds(forward: Forward) -> float:
        started = clock()
        _answer(forward, rows, candidate.training.loss)
        return clock() - started

    ratios = []
    for _ in range(1 + TIMES):
        before = seconds(bare)
        ratios.append(seconds(changed) / before)
    return median(ratios[1:])  # the first ones warm up
