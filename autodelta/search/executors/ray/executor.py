"""Trials wherever a Ray cluster has room: an engine for each worker, and Ray Tune, whose trials are their clients."""

from dataclasses import dataclass
from typing import Self

import ray

from autodelta.engine.assignment import WorkerSpec
from autodelta.engine.costs import MOST
from autodelta.search.executors.ray import cluster, tuning
from autodelta.search.executors.ray.callbacks import callbacks
from autodelta.search.executors.ray.desk import Desk
from autodelta.search.executors.ray.engine import Office
from autodelta.search.executors.ray.engines import Engines
from autodelta.search.executors.ray.metrics import Metrics
from autodelta.search.executors.ray.shared import RunFolder
from autodelta.search.executors.ray.shipping import shipments
from autodelta.search.executors.ray.slots import Slots
from autodelta.search.executors.ray.tuning import Tuning
from autodelta.search.work import Work

TICK_SECONDS = 0.2


@dataclass
class _Staff:
    """All that works for a search, from its first phase to its last."""

    desk: Desk
    engines: Engines
    slots: Slots
    tuning: Tuning

    def end(self) -> None:
        """Ends it all; clients of an engine that is gone do not wait any more."""
        self.desk.close()
        self.engines.close()
        self.tuning.end()


class RayTune:
    """Trains as many trials at once as there are workers, or more where it pays that a worker trains several.

    ``address`` names a cluster; without one, and without RAY_ADDRESS, Ray is started on this machine for as long as the
    executor is open. ``log`` names loggers of Tune's, as ``autodelta.search.loggers`` lists them.
    """

    def __init__(
        self,
        spec: WorkerSpec,
        *,
        workers: int,
        gpus_per_worker: float = 1.0,
        address: str | None = None,
        log: tuple[str, ...] = (),
    ) -> None:
        self._spec = spec
        self._workers = workers
        self._gpus_per_worker = gpus_per_worker
        self._address = address
        self._log = log
        self._connection: cluster.Connection | None = None
        self._staff: _Staff | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._end()
        if self._connection is not None and self._connection.started:
            ray.shutdown()

    def run(self, work: Work) -> None:
        """Does what there is to do, until there is no more."""
        if self._connection is None:
            self._connect(work)
        staff = self._staff = self._staff or self._start(work)
        try:
            while staff.desk.serve(work, seconds=0.0):
                pass  # what happened between two phases comes first
            staff.slots.begin(work)
            while not staff.slots.done:
                staff.desk.serve(work, seconds=TICK_SECONDS)
                staff.tuning.check()
                work.tick()
                if work.overdue:
                    staff.slots.cut(work)
                    self._end()
                    break
        finally:
            staff.slots.give_back(work)

    def _connect(self, work: Work) -> None:
        assert work.folder is not None
        self._connection = cluster.connect(self._address, workers=self._workers)
        if self._connection.dashboard:
            work.notice(f"Ray dashboard: http://{self._connection.dashboard} (its token: ray get-auth-token)")
        shortage = cluster.shortage(self._workers, self._resources())
        if shortage:
            work.notice(shortage)
        work.listen(Metrics(work.folder.name))

    def _start(self, work: Work) -> _Staff:
        assert work.folder is not None
        assert self._connection is not None
        tuning.prepare()
        run = RunFolder.seen(work.folder)
        node = ray.get_runtime_context().get_node_id()
        sent = () if self._connection.started else shipments(self._spec, node)
        desk = Desk()
        engines = Engines(Office(self._spec, run, sent), desk, resources=self._resources())
        slots = Slots(self._workers, engines)
        at_a_time = self._workers * (1 if self._spec.costs is None else MOST)
        told = callbacks(self._log, run.path)
        return _Staff(desk, engines, slots, Tuning(run.path, desk, slots, at_a_time=at_a_time, loggers=told))

    def _end(self) -> None:
        if self._staff is not None:
            self._staff.end()
            self._staff = None

    def _resources(self) -> dict[str, float]:
        if self._spec.device.startswith("cuda"):
            return {"CPU": 1, "GPU": self._gpus_per_worker}
        return {"CPU": 1}
