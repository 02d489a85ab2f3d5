"""A worker: one backbone and one task held on one device, for one trial after another."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from autodelta.candidate import Candidate
from autodelta.deltas.attached import attach
from autodelta.engine.assignment import Assignment, WorkerSpec
from autodelta.engine.encode import Encoded, encode
from autodelta.engine.evaluate import score
from autodelta.engine.report import Report
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


class Worker:
    """Loads backbone and task once; trains the candidates that it is assigned, one at a time."""

    def __init__(self, spec: WorkerSpec) -> None:
        self.task = spec.load_task()
        self.backbone = spec.load_backbone()
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
            NotFinite, OutOfMemory, OutOfTime: as ``Trial.reports``; the backbone is clean again.
        """
        self.close_trial()
        words = [ids[:-1].tolist() for ids in self._train.targets]
        self._trial = trial = Trial(self.backbone, assignment.candidate, seed=assignment.seed, label_ids=words)
        reports = trial.reports(
            self._train, self._validation, self.task, at=assignment.report_at, seconds=assignment.seconds
        )
        try:
            while True:
                with single_threaded(self.backbone.device.type):
                    report = next(reports, None)
                if report is None:
                    return
                yield report
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
        with single_threaded(self.backbone.device.type), attach(self.backbone.model, candidate) as attached:
            attached.load_state_dict(load_file(weights))
            return score(self.backbone.model, encode(self.backbone, self.task, split), self.task)

    def score_running(self, split: str) -> float:
        """The task's metric of the running trial, as it is now, on a split.

        Raises:
            RuntimeError: no trial is open.
        """
        if self._trial is None:
            raise RuntimeError("no trial is open")
        with single_threaded(self.backbone.device.type):
            return self._trial.score(encode(self.backbone, self.task, split), self.task)
