"""Ray Tune, in a thread: a searcher and a scheduler that only ask at the desk.

Tune's own snapshot is a cache that nothing is ever read from: the study is the truth. Its actors are clients of the
engines; they are reused from order to order, so that few have to start.
"""

import contextlib
import logging
import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from autodelta.search.executors.ray.desk import LOOK_SECONDS, Desk
from autodelta.search.executors.ray.engines import last_words
from autodelta.search.executors.ray.seat import ORDER, Sealed, Seat, beside_its_engine
from autodelta.search.executors.ray.slots import Slots

# Read by Tune when a run starts: no handler of its own for Ctrl-C, no loggers of its own, rare snapshots, and clients
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
        self, run: Path, desk: Desk, slots: Slots, *, at_a_time: int, loggers: Sequence[tune.Callback]
    ) -> None:
        self._files = run / CACHE
        self._error: Exception | None = None
        self._tuner = _tuner(run, desk, slots, at_a_time=at_a_time, loggers=loggers)
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
        """Waits for Tune to end its actors once the desk is closed, and removes its own files."""
        self._thread.join(GOODBYE_SECONDS)
        shutil.rmtree(self._files, ignore_errors=True)

    def _run(self) -> None:
        try:
            with _quiet():
                self._tuner.fit()
        except Exception as error:  # told by ``check``, in the thread that waits for it
            self._error = error


class _Searcher(Searcher):
    """Takes orders, and tells how they ended."""

    def __init__(self, desk: Desk, slots: Slots) -> None:
        super().__init__()
        self._desk = desk
        self._slots = slots
        self._live: dict[str, int] = {}  # tickets by Tune's ids

    def suggest(self, trial_id: str) -> Any:
        """A trial's config, None for nothing now, or Tune's word for the end.

        With nothing under way it waits right here for the next order; Tune would look once a second.
        """
        while not self._desk.closed:
            sealed = self._desk.take(seconds=0.0 if self._live else LOOK_SECONDS)
            if sealed is not None:
                self._live[trial_id] = sealed.ticket
                return _config(sealed)
            if self._live:
                return None
        return Searcher.FINISHED

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tune's word that a trial has come to its end, or was stopped; errors come through the scheduler."""
        ticket = self._live.pop(trial_id, None)
        if ticket is not None and not error and result:
            self._desk.ask(lambda work: self._slots.end(work, ticket, result), otherwise=None)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study is the truth."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the study is the truth."""


class _Scheduler(FIFOScheduler):
    """Asks whether a trial is to go on, and tells of clients that died."""

    def __init__(self, desk: Desk, slots: Slots) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._desk = desk
        self._slots = slots

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        ticket = trial.config[ORDER].ticket
        go_on = self._desk.ask(lambda work: self._slots.hear(work, ticket, result), otherwise=False)
        return str(TrialScheduler.CONTINUE if go_on else TrialScheduler.STOP)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        ticket, words = trial.config[ORDER].ticket, last_words(trial.get_error())
        self._desk.ask(lambda work: self._slots.lose(work, ticket, words), otherwise=None)


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


def _tuner(run: Path, desk: Desk, slots: Slots, *, at_a_time: int, loggers: Sequence[tune.Callback]) -> tune.Tuner:
    return tune.Tuner(
        tune.with_resources(Seat, beside_its_engine),
        tune_config=tune.TuneConfig(
            search_alg=_Searcher(desk, slots),
            scheduler=_Scheduler(desk, slots),
            num_samples=-1,
            max_concurrent_trials=at_a_time,
            reuse_actors=True,
            trial_name_creator=lambda trial: str(trial.config[ORDER]),
        ),
        run_config=tune.RunConfig(
            name=CACHE,
            storage_path=str(run),
            stop=_End(desk),
            callbacks=list(loggers),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=0),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )


def _config(sealed: Sealed) -> dict[str, Any]:
    """A trial's config: the order, and what loggers are to see of it."""
    assignment = sealed.order.assignment
    candidate = assignment.candidate
    return {
        ORDER: sealed,
        "trial": assignment.number,
        "methods": "+".join(candidate.methods),
        "seed": assignment.seed,
        **candidate.training.model_dump(include={"steps", "batch_size"}),
    }


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
