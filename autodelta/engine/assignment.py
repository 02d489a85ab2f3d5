"""What a worker is asked to do, as plain data: where to work (once) and which candidates to train (each trial)."""

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import PositiveInt

from autodelta import tasks
from autodelta.candidate import Candidate
from autodelta.engine.costs import Costs
from autodelta.frozen import Frozen
from autodelta.limits import Limits
from autodelta.tasks import Columns, Task

if TYPE_CHECKING:
    from autodelta.backbones import Backbone
    from autodelta.engine.worker import Worker

TRAIN_ROWS_SEED = 0  # the same for everybody: a task of a smaller size is a task of its own


class Assignment(Frozen):
    """One trial: a candidate to train at a seed."""

    number: int
    candidate: Candidate
    seed: int
    seconds: float | None = None  # the trial gives up when these are over; a checkpoint's own are not among them
    report_at: tuple[PositiveInt, ...] = ()  # steps; (): four, evenly spaced. The last step is always reported
    limits: Limits = Limits()
    entered: int | None = None  # at which step of the worker's clock its first one was due; None: whenever it comes
    alone: bool = False  # a worker died under it: nobody is to go with it


class WorkerSpec(Frozen):
    """Backbone, task and device of a worker; picklable, and opened in the process that does the work."""

    backbone: str
    task: str
    data: Path | None = None
    columns: Columns | None = None
    train_rows: int | None = None  # so many of train, drawn by class and always the same ones; None: all
    device: str = "cpu"
    dtype: str | None = None
    allow_pickle: bool = False
    costs: Costs | None = None  # of packs on the device, by which several trials train at a time; None: one at a time

    def open(self) -> "Worker":
        """Loads backbone and task."""
        from autodelta.engine.worker import Worker

        return Worker(self)

    def load_task(self) -> Task:
        """Loads the task alone."""
        task = tasks.load(self.task, data=self.data, columns=self.columns)
        return task if self.train_rows is None else task.limited(self.train_rows, TRAIN_ROWS_SEED)

    def load_backbone(self) -> "Backbone":
        """Loads the backbone alone."""
        from autodelta.backbones import load

        return load(self.backbone, dtype=self.dtype, device=self.device, allow_pickle=self.allow_pickle)
