"""On a GPU: memory is what torch allocated, a full one halves the rows, and a trial goes on from its checkpoint."""

from pathlib import Path

import pytest
import torch

from autodelta.engine import constraints
from autodelta.engine.assignment import Assignment, WorkerSpec
from autodelta.engine.memory import Rows
from autodelta.engine.worker import Worker
from tests.engine.samples import candidate

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
