"""Fake workers whose scores depend on how much there is to train on: biases lead at few rows, LoRA at many."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from autodelta.candidate import Candidate
from autodelta.engine.assignment import Assignment
from autodelta.engine.report import Report
from autodelta.search import driver
from autodelta.search.events import Listener
from autodelta.studies.sizes.driver import begin, take_up
from autodelta.studies.sizes.study import Asked, SizeStudy
from autodelta.tasks.task import Row, Task, assemble
from autodelta.tasks.view import View
from tests.search import fakes

if TYPE_CHECKING:
    from torch import Tensor

TRAIN_ROWS = 400
CROSSING = 63.2  # rows at which LoRA overtakes the biases: half-way from 10 to 400 on a log scale
SPACE = """
description: Two methods, one at a time, for tests.
at_most: 1
methods:
  lora: {learning_rate: {low: 0.0001, high: 0.01, log: true}, roles: [self_attn.q], sizes: {rank: [1, 2, 4]}}
  bitfit: {learning_rate: {low: 0.0001, high: 0.01, log: true}, roles: [self_attn.q]}
training: {steps: 40, batch_size: 8}
"""


def reached(assignment: Assignment, rows: int) -> float:
    """A score that depends on candidate, seed and rows alone."""
    slope = 0.1 if assignment.candidate.methods == ("lora",) else 0.0
    noise = (int(assignment.candidate.key, 16) + assignment.seed) % 997 / 997 - 0.5
    return 0.6 + slope * math.log(rows / CROSSING) + 0.02 * noise


class SizedSpec(fakes.FakeSpec):
    """Opens a worker that knows its rows of train."""

    def open(self) -> "SizedWorker":  # type: ignore[override]
        return SizedWorker(self.train_rows or TRAIN_ROWS)

    def load_task(self) -> Task:
        return task()


class SizedWorker(fakes.FakeWorker):
    """Trains nothing."""

    def __init__(self, rows: int) -> None:
        super().__init__("smooth")
        self.rows = rows

    def reports(self, assignment: Assignment, start: Path | None) -> Iterator[Report]:
        steps = assignment.candidate.training.steps
        for report in super().reports(assignment, start):
            score = reached(assignment, self.rows) * (steps + report.step) / (2 * steps)
            yield report.model_copy(update={"score": score})

    def weights(self, number: int) -> "dict[str, Tensor]":
        import torch

        return {"score": torch.tensor([reached(self.under[number].assignment, self.rows)], dtype=torch.float64)}


def task(*, labels: tuple[str, ...] = fakes.LABELS) -> Task:
    """Numbered rows, the labels by turns."""
    words = {label: label for label in labels}
    view = View(name="fake", labels=labels, inputs=("text",), metric="accuracy", template="{text}", words=words)

    def numbered(split: str, count: int) -> tuple[Row, ...]:
        return tuple(Row((f"{split} {number}",), labels[number % len(labels)]) for number in range(count))

    sizes = {"train": TRAIN_ROWS, "validation": fakes.TEST_ROWS, "test": fakes.TEST_ROWS}
    return assemble(view, {split: numbered(split, count) for split, count in sizes.items()})


def lora(rank: int) -> Candidate:
    """LoRA as the spaces of the fakes have it, if the rank is theirs."""
    roles = ("decoder.self_attn.q", "encoder.self_attn.q")
    delta = {"method": "lora", "roles": roles, "config": {"rank": rank}, "learning_rate": 0.001}
    return Candidate.model_validate({"deltas": [delta], "training": {"steps": 40, "batch_size": 8}})


def asked(*, sizes: tuple[int, ...] = (10, 100, TRAIN_ROWS), **changes: Any) -> Asked:
    """A study with fake workers."""
    given = {
        "worker": SizedSpec(backbone="fake", task="fake"),
        "fingerprint": task().fingerprint(),
        "rows": {"train": TRAIN_ROWS, "validation": fakes.TEST_ROWS, "test": fakes.TEST_ROWS},
        "space": SPACE,
        "budget": "18trials",
        "sampler": "random",
        **changes,
    }
    return Asked(sizes=sizes, settings=fakes.settings(**given))


def begun(path: Path, what: Asked, events: Listener = lambda event: None) -> SizeStudy:
    """A study, without the floors of its searches, which cost more than the rest."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(driver, "floors", lambda task: {})
        return begin(path, what, events=events)


def gone_on(study: SizeStudy, events: Listener = lambda event: None) -> None:
    """The same study, taken up again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(driver, "floors", lambda task: {})
        take_up(study, events=events)


def story(study: SizeStudy) -> Any:
    """All that a study decided and found, without its times."""
    runs = {
        rows: [(t.number, t.candidate, t.seed, t.state, t.score) for t in run.trials]
        for rows, run in study.runs.items()
    }
    return runs, study.answer
