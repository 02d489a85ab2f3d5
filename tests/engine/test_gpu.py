"""On a GPU: memory is what torch allocated, a full one halves the rows, a trial goes on from its checkpoint, packed
trials are what they are alone, and a step waits for the GPU once."""

import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor

from autodelta.backbones import Backbone
from autodelta.backbones.loading import TRANSFORMERS, UMT5_IS_CAUSAL
from autodelta.deltas.attached import Attached
from autodelta.deltas.compose import compose
from autodelta.engine import constraints, devices
from autodelta.engine.assignment import Assignment, WorkerSpec
from autodelta.engine.forward import Forward
from autodelta.engine.layers import Norm, changed
from autodelta.engine.layout import Layout
from autodelta.engine.memory import Rows
from autodelta.engine.worker import Worker
from autodelta.shape import BackboneShape
from tests.deltas.conformance import candidate_of, perturb
from tests.engine.packs import alone, farthest, pack_of, trial, wide, zoo
from tests.engine.samples import candidate
from tests.engine.test_forward import SETS, VARIANTS, logits_of
from tests.models import TINY, batch

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def gpu(spec: WorkerSpec) -> Worker:
    return Worker(spec.model_copy(update={"device": "cuda"}))


def test_the_memory_foreseen_holds_the_trial_and_the_backbone(gpu: Worker) -> None:
    needed = constraints.memory_bytes(gpu.backbone, candidate(8), seed=1, train=gpu._train)
    *_, last = gpu.run(Assignment(number=0, candidate=candidate(8), seed=1))
    gpu.close_trial()
    weights = sum(parameter.nbytes for parameter in gpu.backbone.model.parameters())
    assert weights < needed
    assert weights < last.memory_bytes


def test_what_others_hold_is_not_the_trials_memory(gpu: Worker) -> None:
    alone = constraints.memory_bytes(gpu.backbone, candidate(8), seed=1, train=gpu._train)
    ballast = torch.empty(256 << 20, dtype=torch.uint8, device="cuda")
    beside = constraints.memory_bytes(gpu.backbone, candidate(8), seed=1, train=gpu._train)
    assert abs(beside - alone) < 8 << 20
    del ballast


def test_a_full_gpu_halves_the_rows_until_they_fit() -> None:
    most = torch.cuda.get_device_properties(0).total_memory

    def allocate(rows: int) -> int:
        return torch.empty(rows * (most // 4), dtype=torch.uint8, device="cuda").numel()

    rows = Rows(16)
    assert rows.fit(allocate) > 0
    assert rows.at_once in (1, 2)
    torch.cuda.empty_cache()


def test_a_trial_goes_on_where_it_was(gpu: Worker, tmp_path: Path) -> None:
    order = Assignment(number=0, candidate=candidate(8), seed=1, report_at=(4,))
    whole = list(gpu.run(order))
    for _ in gpu.run(order):
        gpu.save(tmp_path / "rung")
        break
    found = list(gpu.run(order, start=tmp_path / "rung"))
    gpu.close_trial()
    assert [report.step for report in found] == [report.step for report in whole]
    assert found[-1].train_loss == pytest.approx(whole[-1].train_loss, rel=1e-3)


@pytest.fixture(scope="module")
def backbone(gpu: Worker) -> Backbone:
    return wide(gpu.backbone)


CAUSAL = [name for name in TINY if name != "umt5" or TRANSFORMERS >= UMT5_IS_CAUSAL]


@pytest.mark.parametrize("name", CAUSAL)
def test_the_lean_forward_is_the_model_with_hooks(name: str) -> None:
    model = TINY[name]().double().cuda()
    model.config._attn_implementation = "eager"
    for method, config in VARIANTS:
        on = Attached(model, compose(model, candidate_of(BackboneShape.of(model), (method, config))).double())
        perturb(on)
        with on:
            for shape in SETS:
                given = {key: tensor.cuda() for key, tensor in batch(**shape).items()}
                expected = model(**given, use_cache=False).logits
                found = logits_of(Forward(model, on.composition), model, given)
                assert torch.allclose(found, expected, rtol=0, atol=1e-10), method


def exact(self: Norm, x: Tensor, layout: Layout) -> Tensor:
    """T5's norm with its variance in float64: float32's may round another way after products of another shape."""
    y = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.epsilon)
    return changed(self.owned, x, self.weight * y, self.weight, layout)


def test_packed_trials_are_what_each_is_alone(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Norm, "__call__", exact)
    plans = zoo(backbone.shape, steps=12)
    trials = [trial(backbone, plan, seed=number % 3) for number, plan in enumerate(plans)]
    pack = pack_of(trials)
    while pack.trials:
        assert all(stepped.error is None for stepped in pack.step())
    for one, plan in zip(trials, plans, strict=True):
        assert farthest(one, alone(backbone, plan, seed=one.seed)) <= 1e-10, plan.methods


def test_a_step_waits_for_the_gpu_once(backbone: Backbone) -> None:
    """After the first epoch, when position buckets and causal masks of all lengths are there."""
    pack = pack_of([trial(backbone, zoo(backbone.shape)[0], seed=seed) for seed in range(3)], steps=20)
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            pack.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len([one for one in said if "synchroniz" in str(one.message)]) == 1


def test_copies_to_a_gpu_arrive_whole() -> None:
    given = torch.arange(10_000)
    for _ in range(50):
        assert torch.equal(devices.onto(given, torch.device("cuda")).cpu(), given)
