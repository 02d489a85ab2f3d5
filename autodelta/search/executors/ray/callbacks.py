"""Tune's own loggers, set up for a run."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ray import tune
from ray.air.integrations.mlflow import MLflowLoggerCallback
from ray.air.integrations.wandb import WandbLoggerCallback
from ray.tune.logger import TBXLoggerCallback

from autodelta.search import loggers

PROJECT = "autodelta"


class _TensorBoard(TBXLoggerCallback):
    """Writes into the run's folder at once; Tune's own would show it there when the search is over."""

    def __init__(self, folder: Path) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._folder = folder

    def log_trial_start(self, trial: Any) -> None:
        if trial in self._trial_writer:
            self._trial_writer[trial].close()
        self._trial_writer[trial] = self._summary_writer_cls(str(self._folder / str(trial)), flush_secs=30)
        self._trial_result[trial] = {}


def callbacks(names: Sequence[str], folder: Path) -> list[tune.Callback]:
    """The loggers of these names, for the run in that folder.

    Raises:
        UserError: what one of them needs is not installed.
    """
    loggers.check(tuple(names))
    make = {"tensorboard": _tensorboard, "mlflow": _mlflow, "wandb": _wandb}
    return [make[name](folder) for name in names]


def _tensorboard(folder: Path) -> tune.Callback:
    return _TensorBoard(folder / "tensorboard")


def _mlflow(folder: Path) -> tune.Callback:
    """To the server that MLFLOW_TRACKING_URI names, or into the run's folder."""
    where = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder / 'mlflow.db'}"
    return MLflowLoggerCallback(tracking_uri=where, experiment_name=folder.name, tags={"run": folder.name})


def _wandb(folder: Path) -> tune.Callback:
    """As the environment of W&B says: WANDB_PROJECT, WANDB_API_KEY, WANDB_MODE=offline."""
    project = os.environ.get("WANDB_PROJECT", PROJECT)
    return WandbLoggerCallback(project=project, group=folder.name, dir=str(folder))
