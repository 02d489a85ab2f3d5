"""A worker on a tiny gated T5 with a task that it can learn."""

from pathlib import Path

import pytest

from autodelta.engine.assignment import WorkerSpec
from autodelta.engine.worker import Worker
from tests.small import save_backbone, save_task


@pytest.fixture(scope="session")
def spec(tmp_path_factory: pytest.TempPathFactory) -> WorkerSpec:
    folder: Path = tmp_path_factory.mktemp("engine")
    backbone = save_backbone(folder / "backbone", v1_1=True)
    return WorkerSpec(backbone=str(backbone), task="small", data=save_task(folder / "data"), dtype="fp32")


@pytest.fixture(scope="module")
def worker(spec: WorkerSpec) -> Worker:
    return Worker(spec)
