"""Workers as Ray actors, placed by Ray Tune. Tune's searcher and scheduler only ask the session.

Tune's own snapshot is a cache that nothing is ever read from: the study is the truth. Actors are reused from trial to
trial, so each loads the backbone once; taking a trial's deltas off it again is ours. No other file imports Ray.
"""

import contextlib
import importlib.util
import logging
import os
import shutil
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, Self

import ray
from ray import tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from autodelta.candidate import Candidate
from autodelta.engine.assignment import WorkerSpec
from autodelta.engine.report import Report
from autodelta.errors import UserError
from autodelta.search.attempt import KeptWorker, Order
from autodelta.search.ledger import Spending
from autodelta.search.records import Outcome
from autodelta.search.session import Session

# Read by Tune when a run starts: no handler of its own for Ctrl-C, no loggers of its own, rare snapshots.
TUNE_ENVIRONMENT = {
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "600",
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "0",
    "RAY_TUNE_NEW_OUTPUT": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
}
CACHE = "tune"  # folder inside the run


class _Trainable(tune.Trainable):
    """One worker; a step is one report of the trial that it is on."""

    def setup(self, config: dict[str, Any]) -> None:
        self._trial: Generator[Report, bool, Outcome] | None = None
        self._fresh = True
        self._broken: str | None = None
        began = time.monotonic()
        try:
            self._worker = KeptWorker(config["spec"])
            self._worker.open()
        except UserError as error:
            self._broken = str(error)
        self._start_up = time.monotonic() - began
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._start_up = 0.0
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """The next report, or the outcome with the last one. Being asked again means to go on."""
        if self._broken is not None:
            return {"done": True, "broken": self._broken}
        assert self._trial is not None
        result: dict[str, Any] = {"start_up": self._start_up}
        try:
            report = next(self._trial) if self._fresh else self._trial.send(True)
            self._fresh = False
            result["report"] = report.model_dump_json()
            if report.done:
                self._trial.send(True)
        except StopIteration as end:
            result |= {"done": True, "outcome": end.value.model_dump_json()}
        return result

    def cleanup(self) -> None:
        self._end_trial()

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        return {}

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None: ...

    def _begin(self, config: dict[str, Any]) -> None:
        self._end_trial()
        if self._broken is None:
            self._trial = self._worker.attempt(config["order"])
            self._fresh = True

    def _end_trial(self) -> None:
        if self._trial is not None:
            self._trial.close()
            self._trial = None


class _Slots:
    """Which Tune trial holds which worker, for the ledger."""

    def __init__(self, session: Session, workers: int) -> None:
        self.session = session
        self.orders: dict[str, tuple[Order, int]] = {}
        self.broken = ""
        self._free = list(range(workers))
        self._used: set[int] = set()

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune writes its searcher into a snapshot that nothing is read from, and a session is no data."""
        return {}

    def next(self) -> Order | None:
        """The session's next order; an error of the user's waits until Tune has wound down."""
        try:
            return None if self.broken else self.session.next()
        except UserError as error:
            self.broken = str(error)
            return None

    def start(self, trial_id: str, order: Order) -> None:
        slot = self._free.pop(0)
        self.orders[trial_id] = order, slot
        if slot in self._used:
            self.session.holds(slot, Spending.TRIAL, trial=order.number)
        else:
            self._used.add(slot)
            self.session.holds(slot, Spending.START_UP)

    def hear(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Hands a result to the session; whether the trial is to go on."""
        if "broken" in result:
            self.broken = result["broken"]
            return False
        if "report" not in result or trial_id not in self.orders:
            return True
        order, slot = self.orders[trial_id]
        report = Report.model_validate_json(result["report"])
        if result["start_up"]:
            self.session.holds(slot, Spending.TRIAL, trial=order.number, ago=report.device_seconds)
        return self.session.report(order.number, report)

    def replaced(self, trial_id: str) -> None:
        """The trial's actor is lost; its slot starts anew."""
        if trial_id in self.orders:
            self._used.discard(self.orders[trial_id][1])

    def end(self, trial_id: str, outcome: Outcome) -> None:
        if trial_id not in self.orders:
            return
        order, slot = self.orders.pop(trial_id)
        self._free.insert(0, slot)
        self.session.holds(slot, Spending.IDLE)
        self.session.ended(order.number, outcome)


class _Searcher(Searcher):
    """Asks the session what to start, and tells it what ended."""

    def __init__(self, slots: _Slots, spec: WorkerSpec) -> None:
        super().__init__()
        self._slots = slots
        self._spec = spec

    def suggest(self, trial_id: str) -> Any:
        """A trial's config, or Tune's word for the end."""
        order = self._slots.next()
        if order is None:
            return Searcher.FINISHED
        self._slots.start(trial_id, order)
        return {"spec": self._spec, "order": order}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        if error:
            self._slots.replaced(trial_id)
            outcome = Outcome(state="failed", reason="its worker process died")
        elif result and "outcome" in result:
            outcome = Outcome.model_validate_json(result["outcome"])
        else:
            outcome = Outcome(state="pruned")
        self._slots.end(trial_id, outcome)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study is the truth."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the study is the truth."""


class _Scheduler(FIFOScheduler):
    """Asks the session whether a trial is to go on."""

    def __init__(self, slots: _Slots) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._slots = slots

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        go_on = self._slots.hear(trial.trial_id, result)
        return str(TrialScheduler.CONTINUE if go_on else TrialScheduler.STOP)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        self._slots.hear(trial.trial_id, result)


class _Clock(tune.Callback, tune.Stopper):
    """Keeps the ledger going while no trial reports, and ends what is overdue."""

    def __init__(self, slots: _Slots) -> None:
        self._slots = slots

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self._slots.session.tick()

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return bool(self._slots.broken) or self._slots.session.overdue


class RayTune:
    """Trains as many trials at once as there are workers, wherever the cluster has room."""

    def __init__(self, spec: WorkerSpec, *, workers: int) -> None:
        self._spec = spec
        self._workers = workers
        self._started_ray = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._started_ray:
            ray.shutdown()

    def run(self, session: Session) -> None:
        """Runs trials until the session has no more."""
        self._connect(session)
        slots = _Slots(session, self._workers)
        clock = _Clock(slots)
        tuner = tune.Tuner(
            tune.with_resources(_Trainable, self._resources()),
            tune_config=tune.TuneConfig(
                search_alg=_Searcher(slots, self._spec),
                scheduler=_Scheduler(slots),
                num_samples=-1,
                max_concurrent_trials=self._workers,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name=CACHE,
                storage_path=str(session.folder.resolve()),
                stop=clock,
                callbacks=[clock],
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=0),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        )
        try:
            with _quiet_tune():
                tuner.fit()
        finally:
            for slot in range(self._workers):
                session.releases(slot)
            shutil.rmtree(session.folder / CACHE, ignore_errors=True)
        if slots.broken:
            raise UserError(slots.broken)

    def score(self, session: Session, candidate: Candidate, weights: Path, split: str) -> float:
        """Scores saved weights on a split, in an actor of its own."""
        session.holds(0, Spending.TEST)
        resources = self._resources()
        remote = ray.remote(num_cpus=resources["CPU"], num_gpus=resources.get("GPU", 0))(_score)
        try:
            return float(ray.get(remote.remote(self._spec, candidate, weights.resolve(), split)))
        finally:
            session.releases(0)

    def _resources(self) -> dict[str, float]:
        return {"CPU": 1, "GPU": 1} if self._spec.device.startswith("cuda") else {"CPU": 1}

    def _connect(self, session: Session) -> None:
        """Uses the cluster that this program is on already, or starts one here, with a dashboard where there is one."""
        os.environ.update({name: value for name, value in TUNE_ENVIRONMENT.items() if name not in os.environ})
        if ray.is_initialized():
            return
        how: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
        if "RAY_ADDRESS" not in os.environ:
            how["num_cpus"] = max(self._workers, os.cpu_count() or 1)
            how["include_dashboard"] = importlib.util.find_spec("aiohttp_cors") is not None  # as ray[default] has it
        context = ray.init(**how)
        self._started_ray = True
        if context.dashboard_url:
            session.notice(f"Ray dashboard: http://{context.dashboard_url} (its token: ray get-auth-token)")


def _score(spec: WorkerSpec, candidate: Candidate, weights: Path, split: str) -> float:
    return spec.open().score(candidate, weights, split)


@contextlib.contextmanager
def _quiet_tune() -> Iterator[None]:
    """Tune says nothing below an error, and trials that fail are told by the session, not by Tune."""
    logger = logging.getLogger("ray.tune")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
