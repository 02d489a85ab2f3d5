"""A worker: one backbone and one task held on one device, for one trial after another."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor

from autodelta.candidate import Candidate
from autodelta.deltas.compose import compose
from autodelta.engine import checkpoint, constraints
from autodelta.engine.activations import Activations
from autodelta.engine.assignment import Assignment, WorkerSpec
from autodelta.engine.checkpoint import Checkpoint, Origin
from autodelta.engine.encode import Encoded, encode
from autodelta.engine.evaluate import evaluate
from autodelta.engine.forward import Forward
from autodelta.engine.report import Report, Scored
from autodelta.engine.train import Trial


@contextmanager
def single_threaded(device: str) -> Iterator[None]:
    """On a CPU, one thread: a small T5 is fastest so, trials run side by side, and scores are the same everywhere."""
    before = torch.get_num_threads()
    if device == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Running(NamedTuple):
    trial: Trial
    assignment: Assignment


class Worker:
    """Loads backbone and task once; trains the candidates that it is assigned, one at a time."""

    def __init__(self, spec: WorkerSpec) -> None:
        self.task = spec.load_task()
        self.backbone = spec.load_backbone()
        self._running: _Running | None = None
        self._kept = Activations()

    @cached_property
    def _train(self) -> Encoded:
        return encode(self.backbone, self.task, "train")

    @cached_property
    def _validation(self) -> Encoded:
        return encode(self.backbone, self.task, "validation")

    @cached_property
    def _label_ids(self) -> list[list[int]]:
        return [ids[:-1].tolist() for ids in self._train.targets]

    def run(self, assignment: Assignment, *, start: Path | None = None) -> Iterator[Report]:
        """Trains a candidate; between reports the trial's weights can be had, and not going on is allowed.

        Args:
            assignment: what is trained, and when it reports.
            start: a checkpoint to go on from. The reports that it holds come first, as they were; what follows is, bit
                for bit, what the trial would have done without the break on this machine.

        Raises:
            Violated: the candidate breaks a limit; nothing was trained. Not looked at again after a checkpoint.
            BrokenCheckpoint: ``start`` is no whole checkpoint; without it the trial can be run afresh.
            UserError: ``start`` is a checkpoint of another trial.
            NotFinite, OutOfMemory, OutOfTime, Stalled: as ``Trial.reports``; the backbone is clean again.
        """
        self.close_trial()
        found = None if start is None else checkpoint.read(start, self._origin(assignment))
        try:
            reports = None
            while True:
                with single_threaded(self.backbone.device.type):
                    if reports is None:
                        reports = self._opened(assignment, found)
                    report = next(reports, None)
                if report is None:
                    return
                yield report
        except BaseException:
            self.close_trial()
            raise

    def save(self, path: Path) -> None:
        """Writes a checkpoint of the running trial, as it was at its last report.

        Raises:
            RuntimeError: no trial is open.
            OSError: the file cannot be written; a file that was there is still there.
        """
        trial, assignment = self._open_trial()
        checkpoint.write(path, Checkpoint(self._origin(assignment), trial.progress(), trial.tensors()))

    def weights(self) -> dict[str, Tensor]:
        """The running trial's delta parameters, on the CPU.

        Raises:
            RuntimeError: no trial is open.
        """
        return self._open_trial().trial.weights()

    def close_trial(self) -> None:
        """Gives the running trial's memory back, if there is one; what is kept of the backbone stays."""
        self._running = None

    def evaluate(self, candidate: Candidate, weights: Path, split: str) -> Scored:
        """Score and predictions of saved delta weights on a split."""
        self.close_trial()
        with single_threaded(self.backbone.device.type):
            composition = compose(self.backbone.model, candidate)
            composition.load_tensors(load_file(weights))
            forward = Forward(self.backbone.model, composition)
            encoded = encode(self.backbone, self.task, split)
            return evaluate(forward, encoded, self.task, loss=candidate.training.loss)

    def evaluate_running(self, split: str) -> Scored:
        """Score and predictions of the running trial, as it is now, on a split.

        Raises:
            RuntimeError: no trial is open.
        """
        trial = self._open_trial().trial
        with single_threaded(self.backbone.device.type):
            return trial.evaluate(encode(self.backbone, self.task, split), self.task)

    def score(self, candidate: Candidate, weights: Path, split: str) -> float:
        """The score alone of ``evaluate``."""
        return self.evaluate(candidate, weights, split).score

    def _open_trial(self) -> _Running:
        if self._running is None:
            raise RuntimeError("no trial is open")
        return self._running

    def _opened(self, assignment: Assignment, found: Checkpoint | None) -> Iterator[Report]:
        """The reports of a trial that is new, or restored."""
        if found is None:
            constraints.check(
                self.backbone,
                assignment.candidate,
                assignment.limits,
                seed=assignment.seed,
                train=self._train,
                validation=self._validation,
                label_ids=self._label_ids,
            )
        trial = Trial(
            self.backbone,
            assignment.candidate,
            seed=assignment.seed,
            label_ids=self._label_ids,
            kept=self._kept,
        )
        self._running = _Running(trial, assignment)
        if found is not None:
            trial.restore(found.progress, found.tensors)
        return trial.reports(
            self._train, self._validation, self.task, at=assignment.report_at, seconds=assignment.seconds
        )

    def _origin(self, assignment: Assignment) -> Origin:
        return Origin(
            candidate=assignment.candidate.key,
            seed=assignment.seed,
            backbone=self.backbone.sha256,
            dtype=self.backbone.dtype_name,
            data=sha256(f"{self._train.sha256}{self._validation.sha256}".encode()).hexdigest(),
        )
