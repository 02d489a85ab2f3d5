"""Recorded tables that nobody measured: curves of a power law with noise, for candidates of a small space."""

from collections.abc import Sequence

import numpy as np

from autodelta.candidate import Candidate
from autodelta.meta.records import About, Point, Record, Table
from autodelta.search.pruning import reports, rungs
from autodelta.space import Space

BACKBONE = {"backbone": "fake", "backbone_sha256": "0", "dtype": "fp32", "device": "cpu"}


def candidates(space: Space, number: int, *, seed: int = 0) -> list[Candidate]:
    """Different candidates of a space at random."""
    rng = np.random.default_rng(seed)
    found: dict[str, Candidate] = {}
    while len(found) < number:
        candidate = space.sample(rng)
        found[candidate.key] = candidate
    return list(found.values())


def a_record(
    space: Space, candidate: Candidate, *, task: str = "fake", repeat: int = 0, noise: float = 0.01, **changes: object
) -> Record:
    """A trial whose score rises by a power law to what the candidate is good for on the task."""
    rng = np.random.default_rng([int(candidate.key, 16), repeat, *task.encode()])
    steps = candidate.training.steps
    end = quality(space, candidate, task)
    speed = rng.uniform(0.6, 1.2)
    at = sorted({*reports(steps, rungs(space.settings.most_steps)), max(1, steps // 2)})
    seconds_a_step = 0.01 * (1 + len(candidate.deltas) + rng.uniform(0, 0.5))
    curve = [
        Point(
            step=step,
            score=end * (1 - 0.6 * (step + 1) ** -speed) + noise * rng.standard_normal(),
            train_loss=2 * (step + 1) ** -0.5,
            device_seconds=seconds_a_step * step + 0.02 * number,
        )
        for number, step in enumerate(at, start=1)
    ]
    given = {
        "task": task,
        "train_rows": 100,
        **BACKBONE,
        "candidate": candidate,
        "parameters": candidate.count_parameters(space.shape),
        "repeat": repeat,
        "seed": repeat,
        "state": "complete",
        "curve": curve,
        "test": end * (1 - 0.6 * (steps + 1) ** -speed) + noise * rng.standard_normal(),
        "device_seconds": curve[-1].device_seconds,
        "evaluation_seconds": 0.02 * len(at),
        **changes,
    }
    return Record.model_validate(given)


def quality(space: Space, candidate: Candidate, task: str) -> float:
    """The score at the end of an endless training: a smooth function with an optimum that differs between tasks."""
    best_rate = -3.0 + 0.4 * np.random.default_rng([*task.encode()]).standard_normal()
    off = min(abs(np.log10(delta.learning_rate) - best_rate) for delta in candidate.deltas)
    size = np.log1p(candidate.count_parameters(space.shape)) / 20
    return float(0.9 - 0.15 * off**2 / (1 + off**2) * 4 + 0.1 * size)


def a_table(
    space: Space, tasks: Sequence[str] = ("one", "two"), *, number: int = 40, repeats: int = 10, noise: float = 0.01
) -> Table:
    """Candidates on every task, the first few of them on three seeds."""
    records = tuple(
        a_record(space, candidate, task=task, repeat=repeat, noise=noise)
        for task in tasks
        for place, candidate in enumerate(candidates(space, number))
        for repeat in range(3 if place < repeats else 1)
    )
    about = About(
        **{key: value for key, value in BACKBONE.items() if key != "device"},
        shape=space.shape,
        space=space.name,
        space_text=space.text,
        seed=0,
        curve=rungs(space.settings.most_steps),
    )
    return Table(records=records, tasks={}, about=about)
