"""Ray Tune, in a thread: a searcher and a scheduler that only ask at the desk.

Tune's own snapshot is a cache that nothing is ever read from: the study is the truth. Actors are reused from order to
order, so each loads the backbone once; they outlive the phases of a search as far as Tune lets them: it keeps one that
has nothing to do, and ends the others.
"""

import contextlib
import logging
import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from ray import tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from autodelta.search.attempt import Order
from autodelta.search.executors.ray.desk import Desk
from autodelta.search.executors.ray.slots import Opening, Slots
from autodelta.search.executors.ray.worker import ORDER, Office, RayWorker, Sealed

# Read by Tune when a run starts: no handler of its own for Ctrl-C, no loggers of its own, rare snapshots, and workers
# that do not stop by themselves are ended soon.
TUNE_ENVIRONMENT = {
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "600",
    "TUNE_FORCE_TRIAL_CLEANUP_S": "5",
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "0",
    "RAY_TUNE_NEW_OUTPUT": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
}
CACHE = "tune"  # folder inside the run
GOODBYE_SECONDS = 30.0


class Tuning:
    """One run of Ray Tune, over as many phases of a search as come."""

    def __init__(
        self,
        office: Office,
        slots: Slots,
        *,
        workers: int,
        resources: dict[str, float],
        loggers: Sequence[tune.Callback],
    ) -> None:
        self.desk = Desk()
        self._files = office.run.path / CACHE
        self._error: Exception | None = None
        self._tuner = _tuner(office, self.desk, slots, workers=workers, resources=resources, loggers=loggers)
        self._thread = threading.Thread(target=self._run, name="Ray Tune", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Looks whether Tune still runs.

        Raises:
            RuntimeError: it does not.
        """
        if not self._thread.is_alive():
            raise RuntimeError(f"Ray Tune stopped: {self._error or 'it says nothing'}") from self._error

    def end(self) -> None:
        """Ends every actor, and removes Tune's own files."""
        self.desk.close()
        self._thread.join(GOODBYE_SECONDS)
        shutil.rmtree(self._files, ignore_errors=True)

    def _run(self) -> None:
        try:
            with _quiet():
                self._tuner.fit()
        except Exception as error:  # told by ``check``, in the thread that waits for it
            self._error = error


class _Searcher(Searcher):
    """Asks for orders, and tells how they ended."""

    def __init__(self, desk: Desk, slots: Slots) -> None:
        super().__init__()
        self._desk = desk
        self._slots = slots

    def suggest(self, trial_id: str) -> Any:
        """A trial's config, None for nothing now, or Tune's word for the end.

        With nothing under way it waits right here for the next phase of the search; Tune would look once a second.
        """
        while not self._desk.closed:
            if self._slots.held and not self._slots.wanting:
                return None
            task = self._desk.ask(lambda work: self._slots.next(work, trial_id), otherwise=None)
            if task is not None:
                return _config(task)
        return Searcher.FINISHED

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tune's word that a trial has come to its end, or was stopped; errors come through the scheduler."""
        if not error and result:
            self._desk.ask(lambda work: self._slots.end(work, trial_id, result), otherwise=None)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study is the truth."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the study is the truth."""


class _Scheduler(FIFOScheduler):
    """Asks whether a trial is to go on, and tells of workers that died."""

    def __init__(self, desk: Desk, slots: Slots) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._desk = desk
        self._slots = slots

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        go_on = self._desk.ask(lambda work: self._slots.hear(work, trial.trial_id, result), otherwise=False)
        return str(TrialScheduler.CONTINUE if go_on else TrialScheduler.STOP)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        words = _last_words(trial)
        self._desk.ask(lambda work: self._slots.lose(work, trial.trial_id, words), otherwise=None)


class _End(tune.Stopper):
    """Ends everything when the desk closes."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._desk.closed


def prepare() -> None:
    """Sets what Tune reads from the environment, where the user has not."""
    os.environ.update({name: value for name, value in TUNE_ENVIRONMENT.items() if name not in os.environ})


def _tuner(
    office: Office,
    desk: Desk,
    slots: Slots,
    *,
    workers: int,
    resources: dict[str, float],
    loggers: Sequence[tune.Callback],
) -> tune.Tuner:
    return tune.Tuner(
        tune.with_resources(tune.with_parameters(RayWorker, office=office), resources),
        tune_config=tune.TuneConfig(
            search_alg=_Searcher(desk, slots),
            scheduler=_Scheduler(desk, slots),
            num_samples=-1,
            max_concurrent_trials=workers,
            reuse_actors=True,
            trial_name_creator=lambda trial: str(trial.config[ORDER].name),
        ),
        run_config=tune.RunConfig(
            name=CACHE,
            storage_path=str(office.run.path),
            stop=_End(desk),
            callbacks=list(loggers),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=0),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )


def _config(task: Order | Opening) -> dict[str, Any]:
    """A trial's config: the order, named after its place in the run's folder, and what loggers are to see of it."""
    if isinstance(task, Opening):
        return {ORDER: Sealed(None, f"worker-{task.slot}")}
    candidate = task.assignment.candidate
    return {
        ORDER: Sealed(task, "-".join([*task.folder.parts[-2:], *([task.split] if task.split else [])])),
        "trial": task.number,
        "methods": "+".join(candidate.methods),
        "seed": task.assignment.seed,
        **candidate.training.model_dump(include={"steps", "batch_size"}),
    }


def _last_words(trial: Any) -> str:
    """Why a worker is gone, as far as Ray says."""
    node = "its node has died" in str(trial.get_error())  # Ray may not know yet that it was the whole node
    return "the node of its worker died" if node else "its worker process died"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Tune says nothing; what fails is told by the search."""
    logger = logging.getLogger("ray.tune")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
