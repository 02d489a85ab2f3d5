"""A pack: several trials that train in one pass through the frozen backbone. A trial by itself is a pack of one.

Each trial keeps what is its own: deltas, optimiser, schedule, order of rows, and how it ends. What they share is the
pass: rows lie end to end, and a loss is a sum of means, so that no trial's gradient knows of another's.
"""

import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from itertools import zip_longest
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import torch
from torch import Tensor

from autodelta.backbones import Backbone
from autodelta.deltas.compose import Composition
from autodelta.engine import pace
from autodelta.engine.activations import Activations, named
from autodelta.engine.costs import PLAIN, Costs, Work
from autodelta.engine.encode import Batch, Encoded
from autodelta.engine.failures import NotFinite
from autodelta.engine.forward import Forward, Memory
from autodelta.engine.loss import counted, mean_losses
from autodelta.engine.memory import Rows, exhaustion

if TYPE_CHECKING:
    from autodelta.engine.train import Trial

MOST = 64  # trials in one pass
Losses = list[Tensor]  # of one trial, pass by pass, on the device: its loss is their sum
FORWARDS = 16  # ways through the backbone that are kept: of all trials, and of those left when one goes by itself
T = TypeVar("T")


class Stepped(NamedTuple):
    """What a step of a pack was for one of its trials."""

    trial: "Trial"
    step: int  # of the trial, from 1
    loss: float  # nats a target token
    seconds: float  # that the step would have taken the trial alone
    held_seconds: float  # its share of those that the pack held the device; the shares add up to them
    error: Exception | None  # with which the trial has ended


class Share(NamedTuple):
    """One trial's part of a step."""

    trial: "Trial"
    batch: Batch
    rows: int  # of it that go through the backbone at once


class Pack:
    """Trials that train together; they enter and leave between steps, and one that fails leaves the others as they are.

    Args:
        backbone: that of all trials.
        kept: activations of the frozen part, shared with evaluations and with other packs.
        costs: of this machine, by which the trials' seconds in a step are told apart.
    """

    def __init__(self, backbone: Backbone, *, kept: Activations | None = None, costs: Costs = PLAIN) -> None:
        self.backbone = backbone
        self._kept = Activations(0) if kept is None else kept
        self._costs = costs
        self._streams: dict[Trial, Iterator[Batch]] = {}
        self._most = MOST  # trials in one pass, halved for good when memory runs out
        self._forwards: dict[tuple[Composition, ...], Forward] = {}
        self._passes: list[list[tuple[Trial, Work]]] = []  # of this step, without those that were done again

    @property
    def trials(self) -> tuple["Trial", ...]:
        """Those that are in it, in the order in which they entered."""
        return tuple(self._streams)

    def enter(self, trial: "Trial", train: Encoded) -> None:
        """The trial trains from the next step on, on these rows, from where it is: fresh, restored, or after it left
        another pack."""
        self._streams[trial] = trial.batches(train)

    def leave(self, trial: "Trial") -> None:
        """The trial trains no more and stays as it is; one that is not in the pack is left alone."""
        self._streams.pop(trial, None)
        self._forwards.clear()

    def step(self) -> list[Stepped]:
        """Trains every trial by one step. Those that have failed, or have done all their steps, are no longer in."""
        began = pace.now()
        begun = {trial: _caught(partial(self._begun, trial, stream)) for trial, stream in self._streams.items()}
        shares = [one for one in begun.values() if isinstance(one, Share)]
        together = Rows(max(1, min(self._most, len(shares))))
        before = together.at_once
        found: dict[Trial, Losses | Exception] = {t: one for t, one in begun.items() if isinstance(one, Exception)}
        found |= together.fit(partial(self._gradients, shares))
        if together.at_once < before:
            self._most = together.at_once
        losses, errors = _update(found)
        spent = self._spent(pace.now() - began)
        stepped = []
        for trial in found:
            seconds, held = spent.get(trial, (0.0, 0.0))  # none of one that came through no pass
            loss = losses.get(trial, math.nan)
            stepped.append(Stepped(trial, trial.step, loss, seconds, held, errors.get(trial)))
            if trial in errors or trial.step == trial.candidate.training.steps:
                self.leave(trial)
        return stepped

    def gradients(self, shares: Sequence[Share]) -> list[Losses]:
        """The loss of each share's batch, a mean over all that counts in it, and its gradients.

        Losses stay on the device until somebody wants their ``totals``: until then a GPU is not waited for. A trial
        that comes with more tokens than ever before goes by itself, and is measured.
        """
        for share in shares:
            share.trial.forget_gradients()
        kinds = [share.trial.candidate.training.loss for share in shares]
        found: list[Losses] = [[] for _ in shares]
        passes: list[list[tuple[Trial, Work]]] = []
        whole = [counted(share.batch, kind) for share, kind in zip(shares, kinds, strict=True)]
        for parts in zip_longest(*(share.batch.parts(share.rows) for share in shares)):
            going = {number: part for number, part in enumerate(parts) if part is not None}
            new = [number for number, part in going.items() if part.tokens > shares[number].trial.meter.largest]
            for numbers in (*([number] for number in new), [number for number in going if number not in new]):
                if numbers:
                    weights = [counted(going[number], kinds[number]) / whole[number] for number in numbers]
                    trials = [shares[number].trial for number in numbers]
                    taken = [going[number] for number in numbers]
                    losses = self._pass(trials, taken, weights)
                    if len(self._streams) > 1:
                        passes.append([(t, t.demand.on(part)) for t, part in zip(trials, taken, strict=True)])
                    for number, loss in zip(numbers, losses, strict=True):
                        found[number].append(loss)
        self._passes += passes
        return found

    def _begun(self, trial: "Trial", stream: Iterator[Batch]) -> Share:
        before = trial.composition
        trial.begin_step()
        if trial.composition is not before:
            self._forwards.clear()  # they hold the deltas of the phase before
        return Share(trial, next(stream), trial.rows.at_once)

    def _gradients(self, shares: Sequence[Share], together: int) -> dict["Trial", Losses | Exception]:
        """The loss of every trial, or how it failed, with so many of them in a pass."""
        found: dict[Trial, Losses | Exception] = {}
        self._passes = []
        for start in range(0, len(shares), together):
            lane = shares[start : start + together]
            fault = None
            if len(lane) > 1:
                try:
                    losses = self.gradients(lane)
                    found |= {share.trial: loss for share, loss in zip(lane, losses, strict=True)}
                    continue
                except Exception as error:
                    if exhaustion(error) is not None:
                        raise
                    fault = error
            alone = {share.trial: _caught(partial(self._alone, share)) for share in lane}
            if fault is not None and not any(isinstance(one, Exception) for one in alone.values()):
                raise fault  # of no trial, but of the pass itself
            found |= alone
        return found

    def _alone(self, share: Share) -> Losses:
        """One trial's loss and gradients; memory that runs out halves its rows."""
        return share.trial.rows.fit(lambda rows: self.gradients([share._replace(rows=rows)])[0])

    def _pass(self, trials: Sequence["Trial"], parts: Sequence[Batch], weights: Sequence[float]) -> Losses:
        """One pass forth and back; the weighted losses."""
        with trials[0].meter.forward(parts[0].tokens) if len(trials) == 1 else nullcontext():
            forward = self._forward(trials)
            memories = forward.finish_all(self._entered(trials, parts), forward.depths)
            kinds = [trial.candidate.training.loss for trial in trials]
            means = mean_losses(forward, [t.forward for t in trials], memories, parts, kinds)
        losses = torch.stack([mean * weight for mean, weight in zip(means, weights, strict=True)])
        losses.sum().backward()
        return list(losses.detach().unbind())

    def _entered(self, trials: Sequence["Trial"], parts: Sequence[Batch]) -> list[Memory]:
        """What enters the lowest block that each trial changes; one for all that have the same batch and block."""
        found: dict[tuple[Hashable, ...], Memory] = {}
        entered = []
        for trial, part in zip(trials, parts, strict=True):
            depth = trial.forward.first_delta
            key: tuple[Hashable, ...] = () if len(trials) == 1 else (depth, *named(part.input_ids))
            if depth == 0 or key not in found:
                found[key] = self._kept.entering(trial.forward, part.input_ids, part.mask, device=self.backbone.device)
            entered.append(found[key])
        return entered

    def _forward(self, trials: Sequence["Trial"]) -> Forward:
        """The way through the backbone for these together."""
        if len(trials) == 1:
            return trials[0].forward
        key = tuple(trial.composition for trial in trials)
        if key not in self._forwards:
            if len(self._forwards) == FORWARDS:
                self._forwards.clear()
            self._forwards[key] = Forward(self.backbone.model, *key)
        return self._forwards[key]

    def _spent(self, held: float) -> dict["Trial", tuple[float, float]]:
        """Seconds alone and seconds held, of every trial."""
        if len(self._streams) == 1:
            return dict.fromkeys(self._streams, (held, held))
        return self._costs.apart(self._passes, held)


def totals(losses: Sequence[Losses], *also: Tensor) -> tuple[list[float], list[float]]:
    """The sum of each trial's losses, and the other numbers, all in one transfer."""
    flat = [loss for one in losses for loss in one]
    read = iter(torch.cat([torch.stack(numbers).double() for numbers in (flat, list(also)) if numbers]).tolist())
    sums = [sum(next(read) for _ in one) for one in losses]
    return sums, list(read)


def _update(found: Mapping["Trial", Losses | Exception]) -> tuple[dict["Trial", float], dict["Trial", Exception]]:
    """Moves the weights of every trial whose loss and gradient are finite; the losses, and how the others ended."""
    errors = {trial: loss for trial, loss in found.items() if isinstance(loss, Exception)}
    going = {trial: loss for trial, loss in found.items() if not isinstance(loss, Exception)}
    if not going:
        return {}, errors
    sums, norms = totals(list(going.values()), *(trial.clip() for trial in going))
    for trial, loss, norm in zip(going, sums, norms, strict=True):
        error = _moved(trial, loss, norm)
        if error is not None:
            errors[trial] = error
    return dict(zip(going, sums, strict=True)), errors


def _moved(trial: "Trial", loss: float, norm: float) -> Exception | None:
    """Moves one trial's weights; why they stay."""
    if not math.isfinite(loss):
        return NotFinite(trial.step, loss)
    if not math.isfinite(norm):
        return NotFinite(trial.step, norm, "gradient's norm")
    return _caught(trial.update)


def _caught(action: Callable[[], T]) -> T | Exception:
    """What the action gives, or the error that it ends with."""
    try:
        return action()
    except Exception as error:
        return error
