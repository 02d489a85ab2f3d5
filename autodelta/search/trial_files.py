"""The files of a run's trials: which are kept of those that have ended, and from which another one goes on."""

import os
from contextlib import suppress
from pathlib import Path

from autodelta.search.attempt import CHECKPOINT, WEIGHTS
from autodelta.search.front import front
from autodelta.search.records import BUDGET, TrialRecord
from autodelta.search.study import Study, trial_folder

CHECKPOINTS_KEPT = 16  # of trials that the pruner stopped, and that may yet go on


class TrialFiles:
    """Checkpoints and weights under a run's folder; ``folder`` None: nothing is written."""

    def __init__(self, folder: Path | None, study: Study) -> None:
        self._folder = folder
        self._study = study

    def of(self, number: int) -> Path:
        """A trial's folder, a full path, as a worker may stand in another folder."""
        return trial_folder((self._folder or Path()).absolute(), number)

    def start_from(self, trial: TrialRecord) -> Path | None:
        """The checkpoint to go on from: the trial's own, or that of the one it continues."""
        numbers = [trial.number] if trial.continues is None else [trial.number, trial.continues]
        return next((file for file in (self.of(number) / CHECKPOINT for number in numbers) if file.exists()), None)

    def inherit(self, trial: TrialRecord) -> None:
        """A trial that stops before its first checkpoint keeps that of the one it goes on with."""
        if self._folder is None or trial.continues is None:
            return
        own, other = self.of(trial.number) / CHECKPOINT, self.of(trial.continues) / CHECKPOINT
        if other.exists() and not own.exists():
            own.parent.mkdir(parents=True, exist_ok=True)
            os.replace(other, own)

    def checkpoints(self) -> set[int | None]:
        """The trials whose checkpoints are kept: those that run, what they go on with, and some that may yet go on."""
        trials, running = self._study.trials(), self._study.running
        return {*_may_go_on(trials), *running, *(trials[number].continues for number in running)}

    def clear(self) -> None:
        """Removes weights of trials off the front, checkpoints that nothing will go on from, and half-written files."""
        if self._folder is None:
            return
        running = set(self._study.running)
        weights = {trial.number for trial in front(self._study.trials())} | running
        checkpoints = self.checkpoints()
        for folder in (self._folder / "trials").glob("*"):
            if not folder.name.isdigit():
                continue
            number = int(folder.name)
            kept = {WEIGHTS: number in weights, CHECKPOINT: number in checkpoints}
            for file in folder.iterdir():
                if not kept.get(file.name, number in running or not file.name.endswith(".tmp")):
                    file.unlink(missing_ok=True)
            if number not in running:  # a worker may be about to write into its own
                with suppress(OSError):  # something is left in it, or was written just now
                    folder.rmdir()


def _may_go_on(trials: list[TrialRecord]) -> set[int]:
    """Stopped trials whose checkpoints are kept: all that were cut short, and the best of the others."""
    gone_on = {trial.continues for trial in trials}
    stopped = [t for t in trials if t.state == "pruned" and t.step and t.number not in gone_on]
    cut_short = [trial for trial in stopped if trial.reason == BUDGET]
    others = [trial for trial in stopped if trial.reason != BUDGET]
    others.sort(key=lambda t: (t.score or 0.0, t.step), reverse=True)
    return {trial.number for trial in (*cut_short, *others[:CHECKPOINTS_KEPT])}
