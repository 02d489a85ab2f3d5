"""Trains one candidate on one device: a generator of reports, stopped by not asking for the next one."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import AdamW, Optimizer

from autodelta.backbones import Backbone
from autodelta.candidate import Candidate, Delta, Training
from autodelta.deltas.attached import Attached, attach
from autodelta.engine.encode import Batch, Encoded, batches
from autodelta.engine.evaluate import score
from autodelta.engine.failures import NotFinite, OutOfMemory, OutOfTime
from autodelta.engine.report import Report
from autodelta.tasks import Task

MAX_GRADIENT_NORM = 1.0
REPORTS = 4  # evaluations of a trial that is not told when; the last one is the trial's score


class Trial:
    """A candidate on a backbone, in training. Use as a context: leaving it takes the deltas off again.

    ``label_ids`` are the token ids of the task's label words, for prompts that start from them.
    """

    def __init__(
        self, backbone: Backbone, candidate: Candidate, *, seed: int, label_ids: Sequence[Sequence[int]] = ()
    ) -> None:
        self.backbone = backbone
        self.candidate = candidate
        self.seed = seed
        self._label_ids = label_ids
        self.attached = self._attach(candidate.phases[0])

    def __enter__(self) -> "Trial":
        return self

    def __exit__(self, *_: object) -> None:
        self.attached.detach()

    def weights(self) -> dict[str, Tensor]:
        """The deltas' parameters, copied to the CPU; while a sequence is trained, of the deltas that are on so far."""
        return {name: tensor.detach().cpu().clone() for name, tensor in self.attached.state_dict().items()}

    def reports(
        self,
        train: Encoded,
        validation: Encoded,
        task: Task,
        *,
        at: Sequence[int] = (),
        seconds: float | None = None,
    ) -> Iterator[Report]:
        """Trains step by step; yields a report at the steps ``at`` and the last one, which is marked done.

        Raises:
            NotFinite: the loss became NaN or infinite.
            OutOfMemory: a step did not fit the device.
            OutOfTime: a step ended later than ``seconds`` after the start.
        """
        plan = self.candidate.training
        evaluate_at = report_steps(plan.steps, at)
        losses: list[float] = []
        spent = 0.0
        started = resumed = time.monotonic()
        for step, loss in self.steps(train):
            if seconds is not None and time.monotonic() - started > seconds:
                raise OutOfTime(step, seconds)
            losses.append(loss)
            if step in evaluate_at:
                value = self.score(validation, task)
                spent += time.monotonic() - resumed
                yield Report(
                    step=step,
                    score=value,
                    train_loss=float(np.mean(losses)),
                    device_seconds=spent,
                    done=step == plan.steps,
                )
                losses, resumed = [], time.monotonic()

    def steps(self, train: Encoded) -> Iterator[tuple[int, float]]:
        """Trains; yields each step's number, from 1, and its loss, nats a target token.

        The phases of a sequence share the steps evenly. Each puts its deltas on beside the earlier ones, which stay
        as they are, and has a warm-up and a schedule of its own.

        Raises:
            NotFinite, OutOfMemory: as ``reports``.
        """
        plan, phases = self.candidate.training, self.candidate.phases
        stream = batches(train, batch_size=plan.batch_size, seed=_stream(self.seed, 1))
        step = 0
        for number, phase in enumerate(phases):
            if number > 0:
                self._put_on(phase)
            optimiser = _optimiser(self.attached, phase, plan)
            last = plan.steps * (number + 1) // len(phases)
            own = plan.model_copy(update={"steps": last - step})
            for at in range(last - step):
                step += 1
                yield step, self._step(next(stream), optimiser, rate_at(at, own), step)

    def score(self, encoded: Encoded, task: Task) -> float:
        """The task's metric on a split, with the deltas as they are now."""
        return _in_memory(lambda: score(self.backbone.model, encoded, task))

    def _attach(self, deltas: Sequence[Delta]) -> Attached:
        part = self.candidate.model_copy(update={"deltas": tuple(d for d in self.candidate.deltas if d in deltas)})
        return attach(self.backbone.model, part, seed=self.seed, label_ids=self._label_ids)

    def _put_on(self, phase: Sequence[Delta]) -> None:
        """Adds the deltas of a phase to those that are on, which keep their weights."""
        before, trained = self.attached.candidate.deltas, self.weights()
        self.attached.detach()
        self.attached = self._attach((*before, *phase))
        after = self.attached.candidate.deltas
        kept = {}
        for name, tensor in trained.items():
            index, rest = name.split(".", 1)
            kept[f"{after.index(before[int(index)])}.{rest}"] = tensor
        self.attached.load_state_dict({**self.attached.state_dict(), **kept})

    def _step(self, batch: Batch, optimiser: Optimizer, rate: float, step: int) -> float:
        """One optimiser step; returns the loss, nats a target token."""
        device = self.backbone.device

        def forward_backward() -> float:
            loss = self.backbone.model(
                input_ids=batch.input_ids.to(device),
                attention_mask=batch.mask.to(device),
                labels=batch.targets.to(device),
                use_cache=False,
            ).loss
            loss.backward()
            return float(loss.detach())

        loss = _in_memory(forward_backward)
        if not math.isfinite(loss):
            raise NotFinite(step, loss)
        parameters = [p for group in optimiser.param_groups for p in group["params"]]
        torch.nn.utils.clip_grad_norm_(parameters, MAX_GRADIENT_NORM)
        for group in optimiser.param_groups:
            group["lr"] = group["peak"] * rate
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        return loss


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


def _optimiser(attached: Attached, phase: Sequence[Delta], plan: Training) -> AdamW:
    """Over the deltas of a phase; all others need no gradient."""
    groups: list[dict[str, Any]] = []
    for delta, parameters in attached.groups():
        for parameter in parameters:
            parameter.requires_grad_(delta in phase)
        if delta in phase:
            groups.append({"params": parameters, "peak": delta.learning_rate, "lr": delta.learning_rate})
    return AdamW(groups, weight_decay=plan.weight_decay, fused=True)


def _stream(seed: int, purpose: int) -> int:
    """The seed of one random stream of a trial."""
    return int(np.random.default_rng([seed, purpose]).integers(2**31))


def _in_memory(action: Callable[[], float]) -> float:
    """Runs a step; running out of memory, on a GPU or a CPU, becomes ``OutOfMemory``."""
    try:
        return action()
    except torch.OutOfMemoryError as error:
        raise OutOfMemory(str(error).splitlines()[0]) from error
    except MemoryError as error:
        raise OutOfMemory(str(error) or "the machine's memory is exhausted") from error
    except RuntimeError as error:
        if "not enough memory" in str(error) or "out of memory" in str(error):
            raise OutOfMemory(str(error).splitlines()[0]) from error
        raise
