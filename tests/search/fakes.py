"""A worker that trains nothing: scores come at once from the candidate, or what goes wrong goes wrong.

What a fake does is told by its spec's ``task``: ``smooth``, or ``trouble`` where a method decides what happens.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from autodelta.candidate import Candidate
from autodelta.engine.assignment import Assignment, WorkerSpec
from autodelta.engine.report import Report
from autodelta.errors import UserError
from autodelta.search.settings import Settings
from autodelta.shape import BackboneShape
from autodelta.space import Space

if TYPE_CHECKING:
    from torch import Tensor

SHAPE = BackboneShape(
    vocab_size=100,
    d_model=16,
    d_kv=4,
    d_ff=32,
    num_heads=4,
    encoder_blocks=2,
    decoder_blocks=2,
    gated=False,
    tied=True,
    relative_buckets=8,
)

SPACE = """
description: Three methods, for tests.
methods:
  lora:
    learning_rate: {low: 0.0001, high: 0.01, log: true}
    roles: [self_attn.q]
    sizes: {rank: [1, 2, 4]}
  bitfit:
    learning_rate: 0.001
    roles: [self_attn.q]
  prompt:
    learning_rate: 0.1
    roles: [embeddings]
    stacks: encoder
    sizes: {length: [2, 4]}
training:
  steps: [40, 80]
  batch_size: 8
"""

FINITE = """
description: Two methods on or off, for tests.
methods:
  lora: {learning_rate: 0.001, roles: self_attn.q, sizes: {rank: 2}}
  bitfit: {learning_rate: 0.001, roles: self_attn.q}
training: {steps: 40, batch_size: 8}
"""


class FakeSpec(WorkerSpec):
    """Opens a fake worker; ``backbone`` names what is wrong with opening it."""

    def open(self) -> "FakeWorker":  # type: ignore[override]
        if self.backbone == "unknown":
            raise UserError("unknown backbone 'unknown'; choose from: fake")
        if self.backbone == "dies":
            os._exit(7)
        if self.backbone == "broken":
            raise RuntimeError("the weights are broken")
        return FakeWorker(self.task)


class FakeWorker:
    """Reports four times, with a score that rises with the candidate's size; trouble comes with certain methods."""

    def __init__(self, task: str) -> None:
        self.task, _, seconds = task.partition(":")
        self.seconds = float(seconds or 0)
        self.open_trials = 0
        self.assignment: Assignment | None = None

    def run(self, assignment: Assignment) -> Iterator[Report]:
        if self.open_trials:
            raise RuntimeError("the last trial was not closed")
        self.open_trials += 1
        self.assignment = assignment
        steps = assignment.candidate.training.steps
        for part in range(1, 5):
            time.sleep(self.seconds / 4)
            if self.task == "trouble" and part == 2:
                trouble(assignment.candidate)
            yield Report(
                step=steps * part // 4,
                score=score(assignment) * (part + 4) / 8,
                train_loss=1.0 / part,
                device_seconds=self.seconds * part / 4,
                done=part == 4,
            )

    def weights(self) -> "dict[str, Tensor]":
        import torch

        assert self.assignment is not None
        return {"number": torch.tensor([float(self.assignment.number)])}

    def close_trial(self) -> None:
        self.open_trials = 0
        if self.task == "trouble" and self.assignment and self.assignment.candidate.methods == ("bitfit", "prompt"):
            self.assignment = None
            raise RuntimeError("the deltas do not come off")

    def score(self, candidate: Candidate, weights: Path, split: str) -> float:
        assert weights.is_file()
        assert split == "test"
        if self.task == "interrupted":
            raise KeyboardInterrupt
        return 0.75


def score(assignment: Assignment) -> float:
    """A score between 0 and 1 that depends on candidate and seed alone."""
    parameters = assignment.candidate.count_parameters(SHAPE)
    noise = (int(assignment.candidate.key, 16) + assignment.seed) % 1000 / 1e5
    return parameters / (parameters + 300) * 0.9 + noise


def trouble(candidate: Candidate) -> None:
    """What goes wrong with a candidate in the middle of its training."""
    match candidate.methods:
        case ("lora",):
            raise ArithmeticError("the loss is nan at step 20")
        case ("prompt",):
            raise MemoryError("3 GiB more were needed")
        case ("lora", "bitfit"):
            raise RuntimeError("two shapes differ")
        case ("lora", "prompt"):
            os._exit(9)


def space(tmp_path: Path, text: str = SPACE) -> Space:
    """A space from YAML."""
    path = tmp_path / "space.yaml"
    path.write_text(text)
    return Space.load(path, SHAPE)


def settings(**changes: object) -> Settings:
    """Settings of a search with fake workers; ``task`` says what they do, ``backbone`` what opening one does."""
    spec = FakeSpec(backbone=str(changes.pop("backbone", "fake")), task=str(changes.pop("task", "smooth")))
    given = {
        "task": "fake",
        "view": {"metric": "accuracy"},
        "fingerprint": "0",
        "rows": {"train": 10, "validation": 5, "test": 5},
        "worker": spec,
        "backbone_sha256": "0",
        "shape": SHAPE,
        "space": SPACE,
        "budget": "8trials",
        "seed": 1,
        **changes,
    }
    return Settings.model_validate(given)


def a_candidate(**training: int) -> Candidate:
    """A BitFit candidate with these training settings."""
    return Candidate.model_validate(
        {
            "deltas": [{"method": "bitfit", "roles": ["encoder.self_attn.q"], "learning_rate": 0.001}],
            "training": {"steps": 40, "batch_size": 8, **training},
        }
    )


PROMPT = "prompt: {learning_rate: 0.1, roles: embeddings, stacks: encoder, sizes: {length: 2}}"
SAFE = SPACE + "at_most: 1\n"  # nothing in it kills the process that trains it
