"""When a trial reports, at which learning rate a step trains, and in which order rows are seen."""

import math
from collections.abc import Sequence

import numpy as np

from autodelta.candidate import Training

REPORTS = 4  # of a trial that is not told when; the last one is the trial's score


def report_steps(steps: int, at: Sequence[int] = ()) -> frozenset[int]:
    """The steps at which a trial of so many reports: those in ``at``, else four evenly spaced ones; always the last."""
    even = (math.ceil(steps * part / REPORTS) for part in range(1, REPORTS))
    return frozenset({steps, *(step for step in (at or even) if step <= steps)})


def rate_at(step: int, plan: Training) -> float:
    """Share of the peak learning rate at a step, counted from 0."""
    warmup = round(plan.warmup * plan.steps)
    if step < warmup:
        return (step + 1) / warmup
    left = (plan.steps - step) / max(1, plan.steps - warmup)
    if plan.schedule == "constant":
        return 1.0
    return left if plan.schedule == "linear" else 0.5 * (1 - math.cos(math.pi * left))


def order_seed(seed: int) -> int:
    """The seed of the order of rows in a trial of that seed."""
    return int(np.random.default_rng([seed, 1]).integers(2**31))
