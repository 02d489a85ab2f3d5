"""One candidate in training on one device: what it keeps between steps, and what a pack does with it in one."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.optim import AdamW

from autodelta.backbones import Backbone
from autodelta.candidate import Candidate, Delta
from autodelta.deltas.compose import compose
from autodelta.engine.activations import Activations
from autodelta.engine.checkpoint import Progress
from autodelta.engine.encode import Batch, Encoded, batches
from autodelta.engine.evaluate import ROWS, evaluate
from autodelta.engine.forward import Forward
from autodelta.engine.memory import Rows, in_memory
from autodelta.engine.meter import Meter
from autodelta.engine.pack import Pack, Share, totals
from autodelta.engine.packing import Demand
from autodelta.engine.report import Report, Scored
from autodelta.engine.schedule import order_seed, rate_at
from autodelta.tasks import Task

MAX_GRADIENT_NORM = 1.0
WEIGHTS, OPTIMISER = "weights.", "optimiser."


class Trial:
    """A candidate on a backbone, in training: a member of a pack, or by itself, a pack of one. The backbone is read and
    never changed: no hook is put on it.

    All that a step depends on is the deltas' weights, the optimiser's state, the number of the step and of the phase,
    and how many rows go at once: no random number is drawn after the start.

    Args:
        backbone: stays frozen.
        candidate: what is trained, and how.
        seed: of initial weights and of the order of rows.
        label_ids: the token ids of the task's label words, for prompts that start from them.
        kept: activations of the frozen part, shared with other trials.

    Raises:
        OutOfMemory: the deltas do not fit the device.
    """

    def __init__(
        self,
        backbone: Backbone,
        candidate: Candidate,
        *,
        seed: int,
        label_ids: Sequence[Sequence[int]] = (),
        kept: Activations | None = None,
    ) -> None:
        self.backbone = backbone
        self.candidate = candidate
        self.seed = seed
        self.step = 0  # steps done
        self.phase = 0
        self.reported: list[Report] = []
        self.rows = Rows(candidate.training.batch_size)
        self.meter = Meter(backbone.device)
        self._label_ids = label_ids
        self._scored_rows = Rows(ROWS)
        self._kept = Activations(0) if kept is None else kept
        self._batches: tuple[Encoded, Iterator[Batch]] | None = None  # of which rows, and those yet to come
        self._put_on(candidate.phases[0])

    def weights(self) -> dict[str, Tensor]:
        """The deltas' parameters, copied to the CPU; while a sequence is trained, of the deltas that are on so far."""
        return {name: _copied(tensor) for name, tensor in self.composition.tensors().items()}

    def steps(self, train: Encoded) -> Iterator[tuple[int, float]]:
        """Trains; yields each step's number, from 1, and its loss, nats a target token (or a row, over labels).

        The phases of a sequence share the steps evenly. Each puts its deltas on beside the earlier ones, which stay
        as they are, and has a warm-up and a schedule of its own.

        Raises:
            NotFinite: the loss or its gradient became NaN or infinite.
            OutOfMemory: one row did not fit the device.
        """
        pack = self._alone()
        if self.step < self.candidate.training.steps:
            pack.enter(self, train)
        while pack.trials:
            (stepped,) = pack.step()
            if stepped.error is not None:
                raise stepped.error
            yield stepped.step, stepped.loss

    def _alone(self) -> Pack:
        return Pack(self.backbone, kept=self._kept)

    def evaluate(self, encoded: Encoded, task: Task) -> Scored:
        """Score and predictions on a split, with the deltas as they are now.

        Raises:
            OutOfMemory: one row does not fit.
        """
        loss = self.candidate.training.loss
        return evaluate(
            self.forward,
            encoded,
            task,
            loss=loss,
            rows=self._scored_rows,
            kept=self._kept,
            tokenizer=self.backbone.tokenizer,
        )

    def next_phase(self) -> None:
        """Puts the next deltas of a sequence on, beside those that are on, which keep their weights."""
        before, trained = self.composition.candidate.deltas, self.weights()
        self.phase += 1
        self._put_on((*before, *self.candidate.phases[self.phase]))
        after = self.composition.candidate.deltas
        kept = {}
        for name, tensor in trained.items():
            index, rest = name.split(".", 1)
            kept[f"{after.index(before[int(index)])}.{rest}"] = tensor
        self.composition.load_tensors({**self.composition.tensors(), **kept})

    def gradients(self, batch: Batch, rows: int) -> float:
        """The loss of a batch and its gradients, so many rows at once: the mean over all that counts in it."""
        ((loss,), _) = totals(self._alone().gradients([Share(self, batch, rows)]))
        return loss

    # --- what a pack does with a trial in a step ---------------------------------------------------------------

    def batches(self, train: Encoded) -> Iterator[Batch]:
        """Its batches from the next step on; not wound forward anew where it only goes from pack to pack."""
        if self._batches is None or self._batches[0] is not train:
            plan = self.candidate.training
            seed = order_seed(self.seed)
            self._batches = train, batches(train, batch_size=plan.batch_size, seed=seed, first_step=self.step)
            self.rows.at_most(len(train))
        return self._batches[1]

    def begin_step(self) -> None:
        """Counts the step, and begins the next phase of a sequence where it is due."""
        while self.step == self._end_of(self.phase):
            self.next_phase()
        self.step += 1

    def forget_gradients(self) -> None:
        """As before any pass."""
        self._optimiser.zero_grad(set_to_none=True)

    def clip(self) -> Tensor:
        """Bounds the gradient; its norm before, on the device."""
        return torch.nn.utils.clip_grad_norm_(self._trained, MAX_GRADIENT_NORM)

    def update(self) -> None:
        """Moves the weights by their gradients, at the learning rate of this step.

        Raises:
            OutOfMemory: the optimiser's state does not fit.
        """
        first, end = self._end_of(self.phase - 1), self._end_of(self.phase)
        plan = self.candidate.training.model_copy(update={"steps": end - first})
        rate = rate_at(self.step - 1 - first, plan)
        for group in self._optimiser.param_groups:
            group["lr"] = group["peak"] * rate
        in_memory(self._optimiser.step)
        self.forget_gradients()

    # -----------------------------------------------------------------------------------------------------------

    def progress(self) -> Progress:
        """How far the trial got."""
        return Progress(
            step=self.step,
            phase=self.phase,
            micro_batch=self.rows.at_once,
            scored_rows=self._scored_rows.at_once,
            measured_tokens=self.meter.largest,
            reports=tuple(self.reported),
        )

    def tensors(self) -> dict[str, Tensor]:
        """Weights and the optimiser's state for each of them, on the CPU: ``restore`` takes them with the progress."""
        found = {WEIGHTS + name: tensor for name, tensor in self.weights().items()}
        for name, parameter in self.composition.tensors().items():
            for moment, tensor in self._optimiser.state.get(parameter, {}).items():
                found[f"{OPTIMISER}{name}.{moment}"] = _copied(tensor)
        return found

    def restore(self, progress: Progress, tensors: Mapping[str, Tensor]) -> None:
        """Puts a fresh trial where another one of the same candidate, seed, backbone and rows was.

        Raises:
            UserError: the tensors are those of another candidate.
        """
        self.step, self.reported, self._batches = progress.step, list(progress.reports), None
        self.rows.at_once, self._scored_rows.at_once = progress.micro_batch, progress.scored_rows
        while self.phase < progress.phase:
            self.next_phase()
        self.composition.load_tensors(_under(WEIGHTS, tensors))
        for name, parameter in self.composition.tensors().items():
            moments = _under(f"{OPTIMISER}{name}.", tensors)
            if moments:
                state = {moment: tensor.to(parameter.device, copy=True) for moment, tensor in moments.items()}
                self._optimiser.state[parameter] = state
        self.meter.restore(self.reported[-1].memory_bytes if self.reported else 0, progress.measured_tokens)

    def _put_on(self, deltas: Sequence[Delta]) -> None:
        """Builds these deltas with fresh weights, the way through the backbone with them, and their optimiser."""
        part = self.candidate.model_copy(update={"deltas": tuple(d for d in self.candidate.deltas if d in deltas)})
        build = partial(compose, self.backbone.model, part, seed=self.seed, label_ids=self._label_ids)
        self.composition = in_memory(build)
        self.forward = Forward(self.backbone.model, self.composition)
        self._optimiser = self._begin()
        self.demand = Demand(self.backbone.shape, self.composition, self.forward.first_delta)

    def _begin(self) -> AdamW:
        """The optimiser of the current phase, over its deltas; all others need no gradient."""
        plan, phase = self.candidate.training, self.candidate.phases[self.phase]
        groups: list[dict[str, Any]] = []
        for (delta, parameters), module in zip(self.composition.groups(), self.composition.deltas, strict=True):
            for parameter in parameters:
                parameter.requires_grad_(delta in phase)
            if delta in phase:
                spared = module.spared()
                for decay, part in (
                    (plan.weight_decay, [parameter for parameter in parameters if id(parameter) not in spared]),
                    (0.0, [parameter for parameter in parameters if id(parameter) in spared]),
                ):
                    rate = {"peak": delta.learning_rate, "lr": delta.learning_rate}
                    groups += [{"params": part, "weight_decay": decay, **rate}] if part else []
        self._trained = [parameter for group in groups for parameter in group["params"]]
        self.meter.begin((self.backbone.model, self.composition), self._trained)
        return AdamW(groups, fused=True)

    def _end_of(self, phase: int) -> int:
        """The last step of a phase; 0 for the one before the first."""
        return self.candidate.training.steps * (phase + 1) // len(self.candidate.phases)


def _copied(tensor: Tensor) -> Tensor:
    """A copy on the CPU that later steps do not change."""
    return tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin so, by the rest of their names."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
