"""A worker: one backbone and one task held on one device, for one trial after another."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from autodelta import tasks
from autodelta.backbones import load
from autodelta.candidate import Candidate
from autodelta.engine.assignment import Assignment, WorkerSpec
from autodelta.engine.encode import Encoded, encode
from autodelta.engine.report import Report
from autodelta.engine.train import Trial


class Worker:
    """Loads backbone and task once; trains the candidates that it is assigned, one at a time."""

    def __init__(self, spec: WorkerSpec) -> None:
        if spec.device == "cpu":
            torch.set_num_threads(1)  # trials run side by side; more threads slow a small T5 down
        self.task = tasks.load(spec.task, data=spec.data, columns=spec.columns)
        self.backbone = load(spec.backbone, dtype=spec.dtype, device=spec.device, allow_pickle=spec.allow_pickle)
        self._trial: Trial | None = None

    @cached_property
    def _train(self) -> Encoded:
        return encode(self.backbone, self.task, "train")

    @cached_property
    def _validation(self) -> Encoded:
        return encode(self.backbone, self.task, "validation")

    def run(self, assignment: Assignment) -> Iterator[Report]:
        """Trains a candidate; between reports the trial's weights can be had, and not going on is allowed.

        Raises:
            NotFinite, OutOfMemory: as ``Trial.reports``; the backbone is clean again.
        """
        self.close_trial()
        self._trial = Trial(self.backbone, assignment.candidate, seed=assignment.seed)
        try:
            yield from self._trial.reports(self._train, self._validation, self.task)
        except BaseException:
            self.close_trial()
            raise

    def weights(self) -> dict[str, Tensor]:
        """The running trial's delta parameters, on the CPU.

        Raises:
            RuntimeError: no trial is open.
        """
        if self._trial is None:
            raise RuntimeError("no trial is open")
        return self._trial.weights()

    def close_trial(self) -> None:
        """Takes the running trial's deltas off the backbone, if there are any."""
        if self._trial is not None:
            self._trial.attached.detach()
            self._trial = None

    def score(self, candidate: Candidate, weights: Path, split: str) -> float:
        """The task's metric of saved delta weights on a split."""
        self.close_trial()
        with Trial(self.backbone, candidate, seed=0) as trial:
            trial.attached.load_state_dict(load_file(weights))
            return trial.score(encode(self.backbone, self.task, split), self.task)
