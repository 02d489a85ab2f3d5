"""The actor: one worker that Ray Tune hands one order after the other."""

import faulthandler
import sys
import time
import traceback
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ray import tune

from autodelta.engine.assignment import WorkerSpec
from autodelta.engine.report import Report
from autodelta.errors import UserError
from autodelta.search.attempt import KeptWorker, Order
from autodelta.search.executors.ray.shared import RunFolder
from autodelta.search.executors.ray.shipping import Shipment, placed
from autodelta.search.records import Outcome

ORDER = "order"  # its key in a trial's config


@dataclass(frozen=True)
class Office:
    """Where an actor works; it lies in the object store, so that no trial carries it."""

    spec: WorkerSpec
    run: RunFolder
    shipments: tuple[Shipment, ...] = ()


@dataclass(frozen=True)
class Sealed:
    """An order, or none for a worker that is only to open; loggers of configs see its name, and no more."""

    order: Order | None
    name: str

    def __repr__(self) -> str:
        return self.name


class RayWorker(tune.Trainable):
    """One worker; a step is one report of the order that it is on. A new one says first that it is ready."""

    def setup(self, config: dict[str, Any], office: Office | None = None) -> None:
        assert office is not None  # as ``tune.with_parameters`` gives it
        self._attempt: Generator[Report, bool, Outcome] | None = None
        self._begun = False
        self._news: dict[str, Any] = {}
        began = time.monotonic()
        try:
            office.run.check()
            self._worker = KeptWorker(placed(office.spec, office.shipments))
            self._worker.open()
        except UserError as error:
            self._news = {"broken": str(error), "by_user": True, "done": True}
        except Exception:
            self._news = {"broken": traceback.format_exc(), "by_user": False, "done": True}
        else:
            self._news = {"start_up": time.monotonic() - began}
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """The next report, with the outcome if it is the last. Being asked again means to go on."""
        self._results += 1
        result: dict[str, Any] = {"results": self._results}
        if self._news:
            result |= self._news
            self._news = {}
            return result if self._order is not None else {**result, "done": True}
        if self._order is None or self._attempt is None:
            return {**result, "done": True}
        try:
            with _ended_if_silent(self._order.silence):
                report = self._attempt.send(True) if self._begun else next(self._attempt)
                self._begun = True
                result |= _seen_by_loggers(report) | {"report": report.model_dump_json()}
                if report.done:
                    self._attempt.send(True)
        except StopIteration as end:
            result |= {"done": True, "outcome": end.value.model_dump_json()}
        return result

    def cleanup(self) -> None:
        self._end_attempt()

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        return {}

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None: ...

    def _begin(self, config: dict[str, Any]) -> None:
        self._end_attempt()
        self._results = 0
        self._begun = False
        self._order: Order | None = config[ORDER].order
        if self._order is not None and "broken" not in self._news:
            self._attempt = self._worker.attempt(self._order)

    def _end_attempt(self) -> None:
        if self._attempt is not None:
            self._attempt.close()
            self._attempt = None


@contextmanager
def _ended_if_silent(seconds: float | None) -> Iterator[None]:
    """Ends this process if what is inside takes longer; also if it never gives the interpreter back."""
    if seconds is None:
        yield
        return
    faulthandler.dump_traceback_later(seconds, exit=True, file=sys.__stderr__ or sys.stderr)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def _seen_by_loggers(report: Report) -> dict[str, float]:
    return {name: value for name, value in report.model_dump(exclude={"done"}).items() if value is not None}
