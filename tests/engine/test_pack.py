"""In a pack every trial is what it would be alone, whoever trains with it, and however the others end."""

import math
from itertools import islice
from typing import Any

import pytest
import torch

from autodelta.backbones import Backbone
from autodelta.deltas.compose import compose
from autodelta.deltas.spec import specs
from autodelta.engine import pace, train
from autodelta.engine.activations import Activations
from autodelta.engine.failures import NotFinite, OutOfMemory
from autodelta.engine.forward import Forward, Memory
from autodelta.engine.pack import Pack
from autodelta.engine.worker import Worker
from tests.engine.packs import alone, candidate, delta, even, farthest, pack_of, rows, trial, wide, zoo

TOGETHER = 8


@pytest.fixture(scope="module")
def backbone(worker: Worker) -> Backbone:
    return wide(worker.backbone)


def test_the_zoo_has_every_method(backbone: Backbone) -> None:
    assert {method for plan in zoo(backbone.shape) for method in plan.methods} == specs().keys()


@pytest.mark.parametrize("kept_bytes", [pytest.param(0, marks=pytest.mark.slow), 2**30])
def test_mixed_packs_whose_trials_come_and_go_are_what_each_would_be_alone(backbone: Backbone, kept_bytes: int) -> None:
    """Eight at a time of every variant of every method: as one is done, the next enters; some leave before it."""
    plans = zoo(backbone.shape)
    kept = Activations(kept_bytes)
    waiting = [
        (trial(backbone, plan, seed=n % 3, kept=kept), 13 if n % 6 == 4 else None) for n, plan in enumerate(plans)
    ]
    everybody = list(waiting)
    stops = dict(everybody)
    pack = Pack(backbone, kept=kept)
    most = 0
    while waiting or pack.trials:
        while waiting and len(pack.trials) < TOGETHER:
            pack.enter(waiting.pop(0)[0], rows())
        most = max(most, len(pack.trials))
        for stepped in pack.step():
            assert stepped.error is None
            if stepped.step == stops[stepped.trial]:
                pack.leave(stepped.trial)
    assert most == TOGETHER
    for (packed, stop), plan in zip(everybody, plans, strict=True):
        solo = alone(backbone, plan, seed=packed.seed, steps=stop)
        assert packed.step == solo.step == (stop or plan.training.steps)
        assert farthest(packed, solo) <= 1e-10, plan.methods
        assert farthest(packed, trial(backbone, plan, seed=packed.seed)) > 1e-4, plan.methods


def test_one_that_leaves_midway_and_goes_on_in_another_pack_is_what_it_would_be(backbone: Backbone) -> None:
    plans = zoo(backbone.shape, steps=12)[:4]
    trials = [trial(backbone, plan, seed=2) for plan in plans]
    pack, other = pack_of(trials, steps=5), Pack(backbone)
    pack.leave(trials[1])
    other.enter(trials[1], rows())
    while pack.trials or other.trials:
        pack.step()
        other.step()
    for one, plan in zip(trials, plans, strict=True):
        assert farthest(one, alone(backbone, plan, seed=2)) <= 1e-10


def test_a_sequence_changes_its_deltas_within_a_pack(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "compose", lambda *given, **more: compose(*given, **more).double())  # in every phase
    shape = backbone.shape
    parts = [delta(shape, name, 0, rate=0.01) for name in ("lora", "bitfit", "prompt")]
    plans = [
        candidate(*parts, steps=12, batch_size=3, sequence="bitfit > prompt"),
        candidate(*parts, steps=10, batch_size=4, sequence="prompt > lora"),
        candidate(parts[0], steps=12, batch_size=3),
    ]
    trials = [trial(backbone, plan, seed=1) for plan in plans]
    pack = pack_of(trials)
    while pack.trials:
        pack.step()
    assert [one.phase for one in trials] == [2, 2, 0]
    for one, plan in zip(trials, plans, strict=True):
        assert farthest(one, alone(backbone, plan, seed=1)) <= 1e-10


# --- how trials end --------------------------------------------------------------------------------------------------


def poisoned(packed: Any) -> None:
    """A weight that is no number."""
    parameter = next(iter(packed.composition.parameters()))
    with torch.no_grad():
        parameter.fill_(math.nan)


def test_a_trial_whose_next_phase_does_not_fit_ends_and_the_others_go_on(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = [delta(backbone.shape, name, 0, rate=0.01) for name in ("lora", "bitfit")]
    plans = [
        candidate(*parts, steps=6, batch_size=3, sequence="bitfit > lora"),
        candidate(parts[0], steps=6, batch_size=3),
    ]
    solo = alone(backbone, plans[1], seed=1)
    trials = [trial(backbone, plan, seed=1) for plan in plans]

    def full() -> None:
        raise OutOfMemory("CUDA out of memory.")

    monkeypatch.setattr(trials[0], "next_phase", full)
    pack = pack_of(trials)
    ends: dict[Any, tuple[int, Exception | None]] = {}
    while pack.trials:
        ends.update({one.trial: (one.step, one.error) for one in pack.step()})
    assert ends[trials[0]][0] == 3
    assert isinstance(ends[trials[0]][1], OutOfMemory)
    assert ends[trials[1]] == (6, None)
    assert farthest(trials[1], solo) <= 1e-10


@pytest.mark.parametrize("culprit", [0, 2, 5])
def test_a_trial_that_is_no_number_leaves_the_others_bit_for_bit(backbone: Backbone, culprit: int) -> None:
    """In the step in which it shows, and in all that follow, compared to a pack that it just leaves."""

    def run(poison: bool) -> tuple[list[list[float]], list[dict[str, torch.Tensor]], Exception | None]:
        trials = [trial(backbone, plan, seed=1) for plan in zoo(backbone.shape, steps=9)[:6]]
        pack, losses, error = pack_of(trials), [], None
        for step in range(8):
            if step == 3 and poison:
                poisoned(trials[culprit])
            done = pack.step()
            losses.append([one.loss for one in done if one.trial is not trials[culprit]])
            error = next((one.error for one in done if one.error is not None), error)
            if step == 3:
                assert (trials[culprit] in pack.trials) == (not poison)
                pack.leave(trials[culprit])
        return losses, [one.weights() for one in trials if one is not trials[culprit]], error

    losses, weights, _ = run(poison=False)
    found, others, error = run(poison=True)
    assert isinstance(error, NotFinite)
    assert error.step == 4
    assert found == losses
    for one, other in zip(weights, others, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)


def room(monkeypatch: pytest.MonkeyPatch, most: int) -> list[int]:
    """Gives the encoder room for so many rows; returns how many came, pass by pass."""
    finish, seen = Forward.finish_all, list[int]()

    def enter(self: Forward, entered: list[Memory], blocks: Any, **more: Any) -> list[Memory]:
        seen.append(sum(len(one.hidden) for one in entered))
        if seen[-1] > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB")
        return finish(self, entered, blocks, **more)

    monkeypatch.setattr(Forward, "finish_all", enter)
    return seen


def lora(backbone: Backbone, batch_size: int) -> Any:
    return candidate(delta(backbone.shape, "lora", 0, rate=0.01), steps=6, batch_size=batch_size)


def test_a_pack_that_does_not_fit_goes_in_halves_before_any_trials_rows_are_halved(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans = [lora(backbone, 4) for _ in range(4)]
    solo = [alone(backbone, plan, seed=seed, train=even()) for seed, plan in enumerate(plans)]
    trials = [trial(backbone, plan, seed=seed) for seed, plan in enumerate(plans)]
    pack = pack_of(trials, steps=1, train=even())
    seen = room(monkeypatch, 8)
    while pack.trials:
        pack.step()
    assert seen == [16, *[8] * 10]
    assert [one.rows.at_once for one in trials] == [4] * 4
    assert max(farthest(one, other) for one, other in zip(trials, solo, strict=True)) <= 1e-10


def test_what_was_done_again_in_a_step_is_no_time_that_a_trial_would_have_taken_alone(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = [trial(backbone, lora(backbone, 4), seed=seed) for seed in range(4)]
    pack = pack_of(trials, steps=1, train=even())
    seen = room(monkeypatch, 8)
    ticks = iter([0.0, 3.0, 10.0, 13.0])
    monkeypatch.setattr(pace, "now", lambda: next(ticks))
    again, after = pack.step(), pack.step()
    assert seen == [16, 8, 8, 8, 8]
    assert [one.seconds for one in again] == pytest.approx([one.seconds for one in after])
    assert sum(one.held_seconds for one in again) == pytest.approx(3.0)


def test_rows_are_halved_for_the_trial_that_needs_it_alone(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    plans = [lora(backbone, 12), lora(backbone, 3), lora(backbone, 2)]
    solo = [alone(backbone, plan, seed=1) for plan in plans]
    trials = [trial(backbone, plan, seed=1) for plan in plans]
    pack = pack_of(trials)
    room(monkeypatch, 6)
    while pack.trials:
        assert all(stepped.error is None for stepped in pack.step())
    assert [one.rows.at_once for one in trials] == [6, 3, 2]
    assert max(farthest(one, other) for one, other in zip(trials, solo, strict=True)) <= 1e-10


def test_a_trial_without_room_for_one_row_ends_and_the_others_go_on(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans = [lora(backbone, 4), lora(backbone, 3)]
    solo = alone(backbone, plans[1], seed=1)
    trials = [trial(backbone, plan, seed=1) for plan in plans]
    begin = Forward.begin

    def full(self: Forward, ids: torch.Tensor, mask: Any) -> Memory:
        if self is trials[0].forward:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return begin(self, ids, mask)

    monkeypatch.setattr(Forward, "begin", full)
    pack = pack_of(trials)
    first, second = pack.step()
    assert isinstance(first.error, OutOfMemory)
    assert (second.error, pack.trials) == (None, (trials[1],))
    while pack.trials:
        pack.step()
    assert farthest(trials[1], solo) <= 1e-10


def test_a_fault_in_one_trials_deltas_is_its_own(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    plans = [lora(backbone, 4), lora(backbone, 3)]
    solo = alone(backbone, plans[1], seed=1)
    trials = [trial(backbone, plan, seed=1) for plan in plans]
    pack = pack_of(trials, steps=1)
    slot = next(iter(trials[0].composition.slots.values()))[0]
    monkeypatch.setattr(type(slot), "forward", _breaking(slot, type(slot).forward))
    first, second = pack.step()
    assert isinstance(first.error, RuntimeError)
    assert second.error is None
    while pack.trials:
        pack.step()
    assert farthest(trials[1], solo) <= 1e-10


def test_a_fault_of_the_pass_itself_is_not_hidden_by_going_one_by_one(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = [trial(backbone, lora(backbone, 4), seed=seed) for seed in range(2)]
    pack = pack_of(trials, steps=1, train=even())
    losses = Forward.losses

    def faulty(self: Forward, memories: list[Memory], targets: Any) -> Any:
        if len(memories) > 1:
            raise RuntimeError("shapes differ")
        return losses(self, memories, targets)

    monkeypatch.setattr(Forward, "losses", faulty)
    with pytest.raises(RuntimeError, match="shapes differ"):
        pack.step()


def _breaking(culprit: torch.nn.Module, forward: Any) -> Any:
    def broken(self: torch.nn.Module, *given: Any) -> Any:
        if self is culprit:
            raise RuntimeError("shapes differ")
        return forward(self, *given)

    return broken


def test_an_error_ends_a_trial_alone_as_it_is(backbone: Backbone) -> None:
    plan = lora(backbone, 4)
    packed = trial(backbone, plan, seed=1)
    poisoned(packed)
    with pytest.raises(NotFinite):
        list(islice(packed.steps(rows()), 2))
