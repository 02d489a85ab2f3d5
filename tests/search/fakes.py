"""A worker that trains nothing: scores come at once from the candidate, or what goes wrong goes wrong.

What a fake does is told by its spec's ``task``: ``smooth``, or ``trouble`` where a method decides what happens. The
seconds behind a colon are those of a trial, of ``paced`` those of a step.
"""

import json
import math
import os
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from autodelta.candidate import Candidate
from autodelta.engine.assignment import Assignment, WorkerSpec
from autodelta.engine.costs import PLAIN
from autodelta.engine.failures import BrokenCheckpoint
from autodelta.engine.report import Report, Scored
from autodelta.errors import UserError
from autodelta.files import write_text
from autodelta.search.settings import Settings
from autodelta.shape import BackboneShape
from autodelta.space import Space
from autodelta.tasks.task import Row, Task, assemble
from autodelta.tasks.view import View

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

LABELS = ("bad", "good")
WORDS = {"bad": "bad", "good": "good"}
TEST_ROWS = 40
STEP_SECONDS = 1e-5  # of a fake that takes no time
TOGETHER, GAIN = 3, 2  # trials that a fake with costs trains at a time, and how much faster they go so

FINITE = """
description: Two methods on or off, for tests.
methods:
  lora: {learning_rate: 0.001, roles: self_attn.q, sizes: {rank: 2}}
  bitfit: {learning_rate: 0.001, roles: self_attn.q}
training: {steps: 40, batch_size: 8}
"""


class Clock:
    """A clock that only goes on when it is told to, or when a fake of this process sleeps on it."""

    def __init__(self, now: float = 100.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class FakeSpec(WorkerSpec):
    """Opens a fake worker; ``backbone`` names what is wrong with opening it."""

    def open(self) -> "FakeWorker":  # type: ignore[override]
        if self.backbone == "unknown":
            raise UserError("unknown backbone 'unknown'; choose from: fake")
        if self.backbone == "hangs":
            threading.Event().wait()
        if self.backbone == "dies":
            os._exit(7)
        if self.backbone == "broken":
            raise RuntimeError("the weights are broken")
        return FakeWorker(self.task, together=TOGETHER if self.costs else 1)

    def load_task(self) -> Task:
        """Rows of two labels, whatever the worker makes of them."""
        rows = tuple(Row((f"row {number}",), LABELS[number % 2]) for number in range(TEST_ROWS))
        view = View(name="fake", labels=LABELS, inputs=("text",), metric="accuracy", template="{text}", words=WORDS)
        return assemble(view, {"train": rows, "validation": rows, "test": rows})


class Under(NamedTuple):
    """A trial that a fake is at."""

    assignment: Assignment
    due: deque[int]  # steps at which it has yet to report
    reports: Iterator[Report]

    @property
    def turn(self) -> tuple[float, int]:
        """When the next thing happens to it."""
        return (self.assignment.entered or 0) + (self.due[0] if self.due else math.inf), self.assignment.number


class Rostered:
    """Has one thing after the other happen to the trials that it is at, as the engine's roster does: by the steps since
    they entered. ``reports`` says what happens to each; ``together`` so many pay to train at a time."""

    together = 1

    def __init__(self) -> None:
        self.under: dict[int, Under] = {}

    def reports(self, assignment: Assignment, start: Path | None) -> Iterator[Report]:
        raise NotImplementedError

    def enter(self, assignment: Assignment, *, start: Path | None = None) -> None:
        if len(self.under) == self.together:
            raise RuntimeError("a trial was not let go")
        steps = assignment.report_at or (assignment.candidate.training.steps,)
        self.under[assignment.number] = Under(assignment, deque(steps), self.reports(assignment, start))

    def advance(self) -> tuple[int, Report | Exception]:
        trial = min(self.under.values(), key=lambda trial: trial.turn)
        number = trial.assignment.number
        try:
            report = next(trial.reports)
        except Exception as error:
            self.leave(number)
            return number, error
        trial.due.popleft()
        return number, report

    def leave(self, number: int) -> None:
        del self.under[number]

    def room(self) -> bool:
        return len(self.under) < self.together

    def close_trial(self) -> None:
        self.under.clear()


class FakeWorker(Rostered):
    """Reports when it is told to, with a score that rises with size and steps; trouble comes with certain methods."""

    def __init__(self, task: str, *, together: int = 1) -> None:
        super().__init__()
        self.task, _, seconds = task.partition(":")
        self.seconds = float(seconds or 0)
        self.together = together
        self.reported: dict[int, list[Report]] = {}

    def enter(self, assignment: Assignment, *, start: Path | None = None) -> None:
        self.reported[assignment.number] = read_checkpoint(start, assignment) if start else []
        super().enter(assignment, start=start)

    def reports(self, assignment: Assignment, start: Path | None) -> Iterator[Report]:
        reported = self.reported[assignment.number]
        yield from list(reported)
        steps, gain = assignment.candidate.training.steps, 1 if self.together == 1 else GAIN
        whole = self.seconds * (steps if self.task == "paced" else 1)
        begun = reported[-1].step if reported else 0
        for step in assignment.report_at or (steps,):
            if step <= begun:
                continue
            time.sleep(whole * (step - begun) / steps / gain)
            if self.task == "trouble" and step > steps // 3:
                trouble(assignment.candidate)
            begun = step
            spent = (whole or STEP_SECONDS * steps) * step / steps
            reported.append(
                Report(
                    step=step,
                    score=score(assignment) * (steps + step) / (2 * steps),
                    train_loss=1.0 / step,
                    device_seconds=spent,
                    held_seconds=spent / gain,
                    evaluation_seconds=0.1 * whole * step / steps,
                    done=step == steps,
                )
            )
            yield reported[-1]

    def save(self, path: Path, number: int) -> None:
        found = [report.model_dump() for report in self.reported[number]]
        text = json.dumps({"key": key(self.under[number].assignment), "reports": found})
        path.with_name(f".{path.name}.0.tmp").write_text(text[:20])  # as a writer leaves it that is killed midway
        kill_driver_at("checkpoint")
        path.with_name(f".{path.name}.0.tmp").unlink()
        write_text(path, text)

    def weights(self, number: int) -> "dict[str, Tensor]":
        import torch

        kill_driver_at("weights")
        return {"score": torch.tensor([score(self.under[number].assignment)], dtype=torch.float64)}

    def evaluate(self, candidate: Candidate, weights: Path, split: str) -> Scored:
        from safetensors.torch import load_file

        assert split == "test"
        if self.task == "interrupted":
            raise KeyboardInterrupt
        reached = float(load_file(weights)["score"][0])
        right = [number < reached * TEST_ROWS for number in range(TEST_ROWS)]
        labels = tuple(LABELS[(number + (not right[number])) % 2] for number in range(TEST_ROWS))
        return Scored(score=sum(right) / TEST_ROWS, predictions=labels)


_passed: Counter[str] = Counter()


def kill_driver_at(point: str) -> None:
    """Kills the search's driver where a test asks for it (``killing.py``)."""
    name, _, times = os.environ.get("KILL_AT", "").partition(":")
    _passed[point] += 1
    if name == point and _passed[point] == int(times):
        os.kill(int(os.environ["KILL_PID"]), signal.SIGKILL)


def key(assignment: Assignment) -> str:
    return f"{assignment.candidate.key} {assignment.seed}"


def read_checkpoint(path: Path, assignment: Assignment) -> list[Report]:
    """The reports in a fake's checkpoint."""
    try:
        found = json.loads(path.read_text())
    except ValueError:
        raise BrokenCheckpoint(f"{path} is torn") from None
    assert found["key"] == key(assignment)
    return [Report.model_validate(report) for report in found["reports"]]


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
    """Settings of a search with fake workers; ``task`` says what they do, ``backbone`` what opening one does;
    with ``packed`` each trains some at a time."""
    backbone, task = str(changes.pop("backbone", "fake")), str(changes.pop("task", "smooth"))
    spec = FakeSpec(backbone=backbone, task=task, costs=PLAIN if changes.pop("packed", False) else None)
    given = {
        "task": "fake",
        "view": {"metric": "accuracy"},
        "fingerprint": spec.load_task().fingerprint(),
        "rows": {"train": TEST_ROWS, "validation": TEST_ROWS, "test": TEST_ROWS},
        "worker": spec,
        "backbone_sha256": "0",
        "shape": SHAPE,
        "space": SPACE,
        "budget": "8trials",
        "pruner": "none",
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


SAFE = SPACE + "at_most: 1\n"  # nothing in it kills the process that trains it
