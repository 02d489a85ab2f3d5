"""A worker: one backbone and one task held on one device, for one trial after another, or several at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from hashlib import sha256
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from autodelta.backbones import Backbone
from autodelta.candidate import TEXT, Candidate
from autodelta.deltas.compose import compose
from autodelta.engine import checkpoint, constraints
from autodelta.engine.activations import Activations
from autodelta.engine.assignment import Assignment, WorkerSpec
from autodelta.engine.checkpoint import Checkpoint, Origin
from autodelta.engine.costs import PLAIN
from autodelta.engine.course import Course
from autodelta.engine.encode import Encoded, encode
from autodelta.engine.evaluate import evaluate
from autodelta.engine.failures import OutOfMemory
from autodelta.engine.forward import Forward
from autodelta.engine.memory import in_memory, keep_freed
from autodelta.engine.report import Report, Scored
from autodelta.engine.roster import Member, News, Roster
from autodelta.engine.train import Trial
from autodelta.errors import UserError


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


def _loaded(spec: WorkerSpec) -> Backbone:
    """The backbone of a spec.

    Raises:
        UserError: also where it does not fit the device.
    """
    try:
        return in_memory(spec.load_backbone)
    except OutOfMemory as error:
        raise UserError(f"the backbone {spec.backbone!r} does not fit the memory of {spec.device}: {error}") from None


class Worker:
    """Loads backbone and task once; trains the candidates that it is assigned: in one pass through the backbone where
    that pays by the costs in its spec, else one at a time."""

    def __init__(self, spec: WorkerSpec) -> None:
        self.task = spec.load_task()
        self.backbone = _loaded(spec)
        self._costs = spec.costs or PLAIN
        self._kept = Activations()
        if self.backbone.device.type == "cpu":
            keep_freed()

    @cached_property
    def _train(self) -> Encoded:
        return encode(self.backbone, self.task, "train")

    @cached_property
    def _validation(self) -> Encoded:
        return encode(self.backbone, self.task, "validation")

    @cached_property
    def _label_ids(self) -> list[list[int]]:
        return [] if self.task.open_ended else [ids[:-1].tolist() for ids in self._train.targets]

    @cached_property
    def _roster(self) -> Roster:
        return Roster(self.backbone, self._train, kept=self._kept, costs=self._costs)

    def run(self, assignment: Assignment, *, start: Path | None = None) -> Iterator[Report]:
        """Trains a candidate by itself; between reports the trial's weights can be had, and not going on is allowed.

        Args:
            assignment: what is trained, and when it reports.
            start: a checkpoint to go on from, as ``enter``.

        Raises:
            Violated, BrokenCheckpoint, UserError: as ``enter``.
            NotFinite, OutOfMemory, OutOfTime, Stalled: how the trial ended.
        """
        self.close_trial()
        try:
            self.enter(assignment, start=start)
            done = False
            while not done:
                _, found = self.advance()
                if isinstance(found, Exception):
                    raise found
                done = found.done
                yield found
        except BaseException:
            self.close_trial()
            raise

    def enter(self, assignment: Assignment, *, start: Path | None = None) -> None:
        """Takes a trial up beside those that are there.

        Args:
            assignment: what is trained, and when it reports.
            start: a checkpoint to go on from. The reports that it holds come first, as they were; what follows is, bit
                for bit, what the trial would have done without the break on this machine, if it is alone all the time.

        Raises:
            Violated: the candidate breaks a limit; nothing was trained. Not looked at again after a checkpoint.
            BrokenCheckpoint: ``start`` is no whole checkpoint; without it the trial can be run afresh.
            UserError: ``start`` is a checkpoint of another trial; the loss is over labels, and the task has none.
        """
        if self.task.open_ended and assignment.candidate.training.loss != TEXT:
            raise UserError(f"{self.task.name!r} has no labels, so that its loss is {TEXT!r}, not over labels")
        found = None if start is None else checkpoint.read(start, self._origin(assignment))
        with single_threaded(self.backbone.device.type):
            self._roster.enter(self._member(assignment, found))

    def advance(self) -> News:
        """Trains until a trial reports or ends with an error: NotFinite, OutOfMemory, OutOfTime, Stalled. Then it has
        left; one whose last report is out leaves when it is told to."""
        with single_threaded(self.backbone.device.type):
            return self._roster.advance()

    def leave(self, number: int) -> None:
        """Gives a trial's memory back."""
        self._roster.leave(number)

    def room(self) -> bool:
        """Whether it pays to have one more trial enter."""
        return self._roster.room()

    def save(self, path: Path, number: int | None = None) -> None:
        """Writes a checkpoint of a trial, as it was at its last report; ``number`` None: of the only one.

        Raises:
            RuntimeError: no trial is open.
            OSError: the file cannot be written; a file that was there is still there.
        """
        member = self._open_trial(number)
        trial = member.trial
        checkpoint.write(path, Checkpoint(self._origin(member.assignment), trial.progress(), trial.tensors()))

    def weights(self, number: int | None = None) -> dict[str, Tensor]:
        """A trial's delta parameters, on the CPU; ``number`` None: of the only one.

        Raises:
            RuntimeError: no trial is open.
        """
        return self._open_trial(number).trial.weights()

    def close_trial(self) -> None:
        """Gives the memory of all trials back; what is kept of the backbone stays."""
        self._roster.clear()

    def evaluate(self, candidate: Candidate, weights: Path, split: str) -> Scored:
        """Score and predictions of saved delta weights on a split."""
        self.close_trial()
        with single_threaded(self.backbone.device.type):
            composition = compose(self.backbone.model, candidate)
            composition.load_tensors(load_file(weights))
            forward = Forward(self.backbone.model, composition)
            encoded = encode(self.backbone, self.task, split)
            loss, tokenizer = candidate.training.loss, self.backbone.tokenizer
            return evaluate(forward, encoded, self.task, loss=loss, tokenizer=tokenizer)

    def evaluate_running(self, split: str) -> Scored:
        """Score and predictions of the only running trial, as it is now, on a split.

        Raises:
            RuntimeError: no trial is open.
        """
        trial = self._open_trial(None).trial
        with single_threaded(self.backbone.device.type):
            return trial.evaluate(encode(self.backbone, self.task, split), self.task)

    def _open_trial(self, number: int | None) -> Member:
        members = self._roster.members
        if not members:
            raise RuntimeError("no trial is open")
        return members[number] if number is not None else next(iter(members.values()))

    def _member(self, assignment: Assignment, found: Checkpoint | None) -> Member:
        """A trial that is new, or restored."""
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
            self.backbone, assignment.candidate, seed=assignment.seed, label_ids=self._label_ids, kept=self._kept
        )
        demand = trial.demand
        if found is not None:
            trial.restore(found.progress, found.tensors)
        at, seconds = assignment.report_at, assignment.seconds
        course = Course(trial, self._validation, self.task, at=at, seconds=seconds)
        return Member(assignment, trial, course, demand)

    def _origin(self, assignment: Assignment) -> Origin:
        return Origin(
            candidate=assignment.candidate.key,
            seed=assignment.seed,
            backbone=self.backbone.sha256,
            dtype=self.backbone.dtype_name,
            data=sha256(f"{self._train.sha256}{self._validation.sha256}".encode()).hexdigest(),
        )
