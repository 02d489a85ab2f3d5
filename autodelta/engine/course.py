"""The course of a trial: which of its steps are reported, and what a report says."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from autodelta.engine import pace
from autodelta.engine.encode import Encoded
from autodelta.engine.failures import NotFinite, OutOfTime
from autodelta.engine.pace import Pace
from autodelta.engine.report import Report, Scored
from autodelta.engine.schedule import report_steps
from autodelta.tasks import Task

if TYPE_CHECKING:
    from autodelta.engine.pack import Stepped
    from autodelta.engine.train import Trial


class Course:
    """Turns the steps of a trial, alone or in a pack, into its reports.

    Args:
        trial: fresh or restored.
        validation: what it is scored on.
        task: whose metric.
        at: the steps that are reported, beside the last one.
        seconds: of wall-clock from now, after which the trial gives up.
    """

    def __init__(
        self, trial: "Trial", validation: Encoded, task: Task, *, at: Sequence[int] = (), seconds: float | None = None
    ) -> None:
        self._trial, self._validation, self._task = trial, validation, task
        self._due = report_steps(trial.candidate.training.steps, at)
        self._limit, self._started = seconds, pace.now()
        self._pace = Pace()
        self._losses: list[float] = []
        last = trial.reported[-1] if trial.reported else None
        self._spent = last.device_seconds if last else 0.0
        self._held = last.held_seconds if last else 0.0
        self._evaluating = last.evaluation_seconds if last else 0.0

    def take(self, stepped: "Stepped") -> Report | None:
        """The report that is due after a step of the trial, which is scored for it; None where none is.

        Raises:
            NotFinite, OutOfMemory: the step's own error, or the evaluation's.
            OutOfTime: the step ended too late.
            Stalled: step or evaluation took far longer than those before.
        """
        if stepped.error is not None:
            raise stepped.error
        self._pace.note("step", stepped.step, stepped.seconds)
        if self._limit is not None and pace.now() - self._started > self._limit:
            raise OutOfTime(stepped.step, self._limit)
        self._losses.append(stepped.loss)
        self._spent, self._held = self._spent + stepped.seconds, self._held + stepped.held_seconds
        if stepped.step not in self._due:
            return None
        began = pace.now()
        scored = self._trial.evaluate(self._validation, self._task)
        took = pace.now() - began
        if scored.log_loss is not None and not math.isfinite(scored.log_loss):
            raise NotFinite(stepped.step, scored.log_loss, "log-loss on validation")
        self._pace.note("evaluation", stepped.step, took)
        self._spent, self._held, self._evaluating = self._spent + took, self._held + took, self._evaluating + took
        self._trial.reported.append(self._report(scored))
        self._losses = []
        return self._trial.reported[-1]

    def _report(self, scored: Scored) -> Report:
        trial = self._trial
        return Report(
            step=trial.step,
            score=scored.score,
            log_loss=scored.log_loss,
            train_loss=float(np.mean(self._losses)),
            device_seconds=self._spent,
            held_seconds=self._held,
            evaluation_seconds=self._evaluating,
            memory_bytes=trial.meter.peak,
            micro_batch=trial.rows.at_once,
            done=trial.step == trial.candidate.training.steps,
        )
