"""A member of a pack is a trial like any other: scored, saved, reported and timed; what is frozen is shared."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from autodelta.backbones import Backbone
from autodelta.engine import pace
from autodelta.engine.activations import Activations
from autodelta.engine.assignment import Assignment
from autodelta.engine.course import Course
from autodelta.engine.evaluate import label_log_likelihoods
from autodelta.engine.forward import Forward
from autodelta.engine.layers import FeedForward
from autodelta.engine.pack import Pack
from autodelta.engine.report import Report
from autodelta.engine.train import Trial
from autodelta.engine.worker import Worker
from tests.engine.packs import alone, candidate, delta, even, farthest, pack_of, rows, trial, wide, zoo
from tests.engine.samples import candidate as learner
from tests.engine.samples import sequential
from tests.models import deep_encoder


@pytest.fixture(scope="module")
def backbone(worker: Worker) -> Backbone:
    return wide(worker.backbone)


def again(backbone: Backbone, one: Trial) -> Trial:
    """A fresh trial that was put where another one is, by what a checkpoint holds."""
    found = trial(backbone, one.candidate, seed=one.seed)
    found.restore(one.progress(), one.tensors())
    return found


def test_a_member_goes_on_alone_from_its_checkpoint_and_the_other_way_round(backbone: Backbone) -> None:
    plans = zoo(backbone.shape, steps=12)[:8]
    members = [trial(backbone, plan, seed=1) for plan in plans]
    pack_of(members, steps=5)
    back = []
    for member, plan in zip(members, plans, strict=True):
        solo = again(backbone, member)
        assert solo.step == 5
        for step, _ in solo.steps(rows()):
            if step == 6:
                back.append(again(backbone, solo))
        assert farthest(solo, alone(backbone, plan, seed=1)) <= 1e-10
    pack_of(back, steps=6)
    for member, plan in zip(back, plans, strict=True):
        assert farthest(member, alone(backbone, plan, seed=1)) <= 1e-10


def test_a_members_scores_are_those_of_the_same_weights_alone(backbone: Backbone) -> None:
    members = [trial(backbone, plan, seed=1) for plan in zoo(backbone.shape, steps=12)[:8]]
    pack = pack_of(members, steps=4)
    before = [one.weights() for one in members]
    for one, weights in zip(members, before, strict=True):
        found = label_log_likelihoods(one.forward, rows())
        fresh = trial(backbone, one.candidate, seed=1)
        fresh.composition.load_tensors(weights)
        assert np.array_equal(found, label_log_likelihoods(Forward(backbone.model, fresh.composition), rows()))
    pack.step()
    for one, plan in zip(members, zoo(backbone.shape, steps=12)[:8], strict=True):
        assert farthest(one, alone(backbone, plan, seed=1, steps=5)) <= 1e-10  # scoring disturbed nothing


def test_members_report_what_they_report_alone(worker: Worker) -> None:
    plans = [learner(12), learner(9, learning_rate=0.01, batch_size=4), sequential("bitfit > prompt", steps=10)]
    at = [(), (2, 5), (4,)]

    def said(reports: list[Report]) -> list[tuple[int, float, bool, int]]:
        return [(one.step, one.score, one.done, one.memory_bytes) for one in reports]

    solo = []
    for plan, steps in zip(plans, at, strict=True):
        solo.append(list(worker.run(Assignment(number=0, candidate=plan, seed=3, report_at=steps))))
    pack, courses = Pack(worker.backbone), {}
    for plan, steps in zip(plans, at, strict=True):
        one = Trial(worker.backbone, plan, seed=3)
        pack.enter(one, worker._train)
        courses[one] = Course(one, worker._validation, worker.task, at=steps)
    found: dict[Trial, list[Report]] = {one: [] for one in courses}
    while pack.trials:
        for stepped in pack.step():
            report = courses[stepped.trial].take(stepped)
            if report is not None:
                found[stepped.trial].append(report)
    for alone_, one in zip(solo, found, strict=True):
        assert said(found[one]) == said(alone_)
        assert [r.train_loss for r in found[one]] == pytest.approx([r.train_loss for r in alone_], rel=1e-3)


def test_held_seconds_add_up_to_what_the_pack_held_and_solo_seconds_to_more(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = backbone.shape
    plans = [candidate(delta(shape, "bitfit", 0, rate=0.01), steps=9, batch_size=size) for size in (1, 2, 6)]
    members = [trial(backbone, plan, seed=1) for plan in plans]
    pack = pack_of(members, steps=1, train=even())
    ticks = iter([10.0, 13.0])
    monkeypatch.setattr(pace, "now", lambda: next(ticks))
    stepped = pack.step()
    assert sum(one.held_seconds for one in stepped) == pytest.approx(3.0)
    assert sum(one.seconds for one in stepped) > 3.0
    assert stepped[0].seconds < stepped[1].seconds < stepped[2].seconds


def test_one_alone_took_what_was_held(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    member = trial(backbone, zoo(backbone.shape)[0], seed=1)
    pack = pack_of([member], steps=1)
    ticks = iter([10.0, 13.0])
    monkeypatch.setattr(pace, "now", lambda: next(ticks))
    (stepped,) = pack.step()
    assert (stepped.seconds, stepped.held_seconds) == (3.0, 3.0)


# --- what is frozen is computed once ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kept_bytes", [0, 2**30])
def test_members_with_one_batch_and_decoders_alone_share_the_encoder(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch, kept_bytes: int
) -> None:
    shape = backbone.shape
    methods = ("lora", "bitfit", "prefix", "ia3")
    plans = [candidate(delta(shape, m, 0, rate=0.01, stack="decoder"), steps=6, batch_size=4) for m in methods]
    members = [trial(backbone, plan, seed=1) for plan in plans]
    pack = pack_of(members, steps=1, train=even(), kept=Activations(kept_bytes))
    begin, entered = Forward.begin, list[int]()

    def note(self: Forward, ids: Any, mask: Any) -> Any:
        entered.append(len(ids))
        return begin(self, ids, mask)

    monkeypatch.setattr(Forward, "begin", note)
    for _ in range(3):
        pack.step()
    assert entered == [4, 4, 4]
    for one, plan in zip(members, plans, strict=True):
        assert farthest(one, alone(backbone, plan, seed=1, steps=4, train=even())) <= 1e-10


def test_members_that_change_no_keys_or_values_read_one_memory_in_one_product(backbone: Backbone) -> None:
    """Their queries lie side by side for each row of the memory; prompts make one's queries more, and so its own."""
    lora = {"method": "lora", "config": {"rank": 2}, "roles": ["decoder.ffn.in", "decoder.cross_attn.q"]}
    bias = {"method": "bitfit", "config": {}, "roles": ["decoder.ffn.out", "decoder.cross_attn.norm"]}
    prompt = {"method": "prompt", "config": {"length": 2}, "roles": ["decoder.embeddings"]}
    plans = [candidate({**one, "learning_rate": 0.01}, steps=6, batch_size=4) for one in (lora, bias, lora, prompt)]
    members = [trial(backbone, plan, seed=1) for plan in plans]
    pack_of(members, steps=6, train=even())
    for one, plan in zip(members, plans, strict=True):
        assert farthest(one, alone(backbone, plan, seed=1, train=even())) <= 1e-10


def deepened(backbone: Backbone) -> Backbone:
    model = deep_encoder().double()
    return replace(backbone, model=model, shape=type(backbone.shape).of(model))


def test_members_with_one_batch_begin_at_depths_of_their_own(backbone: Backbone) -> None:
    deep = deepened(backbone)
    bias = {"method": "bitfit", "config": {}, "learning_rate": 0.01}
    places: list[dict[str, Any]] = [
        {"roles": ["decoder.ffn.in"]},
        {"roles": ["encoder.final_norm"]},
        {"roles": ["encoder.ffn.in"], "encoder_blocks": [1]},
        {"roles": ["decoder.final_norm"]},
        {"roles": ["encoder.ffn.in"]},
    ]
    plans = [candidate({**bias, **place}, steps=5, batch_size=4) for place in places]
    members = [trial(deep, plan, seed=1) for plan in plans]
    pack_of(members, steps=5)
    for one, plan in zip(members, plans, strict=True):
        assert farthest(one, alone(deep, plan, seed=1)) <= 1e-10


def test_rows_join_where_their_candidate_begins(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a deeper backbone, the passes through each block have the rows of those that change it or a lower one."""
    deep = deepened(backbone)
    lora = {"method": "lora", "config": {"rank": 2}, "learning_rate": 0.01}
    places: list[dict[str, Any]] = [
        {"roles": ["encoder.ffn.in"], "encoder_blocks": [0]},
        {"roles": ["encoder.ffn.in"], "encoder_blocks": [1]},
        {"roles": ["decoder.ffn.in"]},
        {"roles": ["decoder.lm_head"]},
    ]
    plans = [candidate({**lora, **place}, steps=4, batch_size=size) for size, place in enumerate(places, start=1)]
    members = [trial(deep, plan, seed=1) for plan in plans]
    pack = pack_of(members, steps=1, train=even(), kept=Activations())
    pack.step()  # fills what is kept
    call, seen = FeedForward.__call__, list[tuple[int, bool]]()

    def note(self: FeedForward, x: Any, layout: Any) -> Any:
        found = call(self, x, layout)
        seen.append((sum(part.rows for part in layout.parts), found.requires_grad))
        return found

    for one in members:
        again = one.progress().model_copy(update={"step": 1})  # the batch of the step before, which is kept
        one.restore(again, one.tensors())
    pack = pack_of(members, train=even(), kept=pack._kept)
    monkeypatch.setattr(FeedForward, "__call__", note)
    pack.step()
    # The encoder's two blocks; the decoder's one, of those in training and of the last, whose block is frozen.
    assert seen == [(1, True), (3, True), (6, True), (4, False)]
