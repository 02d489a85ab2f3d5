"""What a search was asked to do, as `run.json` keeps it."""

import importlib.metadata
import platform
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SerializeAsAny

from autodelta import __version__
from autodelta.candidate import Candidate
from autodelta.engine.assignment import WorkerSpec
from autodelta.frozen import Frozen
from autodelta.search.budget import CONFIRM_SHARE, Budget, parse
from autodelta.shape import BackboneShape

LIBRARIES = ("torch", "transformers", "peft", "datasets", "scikit-learn", "optuna", "ray")


class Settings(Frozen):
    """Everything that decides what a search does, but for the machine's speed."""

    task: str
    view: dict[str, Any]  # template, label words, metric: from ``Task.view()``
    fingerprint: str  # of the task's rows
    rows: dict[str, int]  # of each split
    worker: SerializeAsAny[WorkerSpec]  # backbone, where the task's rows lie, device
    backbone_sha256: str
    shape: BackboneShape
    space: str  # the space's YAML text
    budget: str
    confirm_share: Annotated[float, Field(ge=0, lt=1)] = CONFIRM_SHARE
    sampler: str = "tpe"
    features: dict[str, float] | None = None  # of the task, for a sampler that learns across tasks
    meta: Path | None = None  # the folder of the meta-learner that it uses; of a run that has begun: inside the run's
    meta_sha256: str | None = None  # of its files
    stop_when_worth_less: Annotated[float, Field(ge=0)] = 0.0  # than this gain in score; 0: only the budget ends it
    pruner: str = "asha"
    first: tuple[Candidate, ...] = ()  # that are tried before all others: winners of another search
    repeats: Annotated[int, Field(gt=0)] = 3  # seeds a candidate of a grid is trained at
    seed: Annotated[int, Field(ge=0)] = 0
    executor: Literal["local", "ray"] = "local"
    workers: Annotated[int, Field(gt=0)] = 1
    gpus_per_worker: Annotated[float, Field(gt=0, le=1)] = 1.0
    address: str | None = None  # of a Ray cluster
    log: tuple[str, ...] = ()  # loggers of Ray Tune

    @property
    def metric(self) -> str:
        return str(self.view["metric"])

    @property
    def has_gpu(self) -> bool:
        return self.worker.device.startswith("cuda")

    @property
    def limits(self) -> Budget:
        """The budget."""
        return parse(self.budget, has_gpu=self.has_gpu, gpu_share=self.gpus_per_worker)


def versions() -> dict[str, str]:
    """The versions of what a search stands on; libraries that are not installed are left out."""
    found = {"autodelta": __version__, "python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
