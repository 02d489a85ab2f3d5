"""Trials wherever a Ray cluster has room for them: the executor that Ray Tune places."""

from typing import Self

import ray

from autodelta.engine.assignment import WorkerSpec
from autodelta.search.executors.ray import cluster, tuning
from autodelta.search.executors.ray.callbacks import callbacks
from autodelta.search.executors.ray.metrics import Metrics
from autodelta.search.executors.ray.shared import RunFolder
from autodelta.search.executors.ray.shipping import shipments
from autodelta.search.executors.ray.slots import Slots
from autodelta.search.executors.ray.tuning import Tuning
from autodelta.search.executors.ray.worker import Office
from autodelta.search.work import Work

TICK_SECONDS = 0.2


class RayTune:
    """Trains as many trials at once as there are workers.

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
        self._slots = Slots(workers)
        self._connection: cluster.Connection | None = None
        self._tuning: Tuning | None = None

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
        if self._tuning is None:
            self._tuning = self._start(work)
        self._slots.begin()
        try:
            while not self._slots.done:
                self._tuning.desk.serve(work, seconds=TICK_SECONDS)
                self._tuning.check()
                work.tick()
                if work.overdue:
                    self._slots.cut(work)
                    self._end()
                    break
        finally:
            self._slots.give_back(work)

    def _connect(self, work: Work) -> None:
        assert work.folder is not None
        self._connection = cluster.connect(self._address, workers=self._workers)
        if self._connection.dashboard:
            work.notice(f"Ray dashboard: http://{self._connection.dashboard} (its token: ray get-auth-token)")
        shortage = cluster.shortage(self._workers, self._resources())
        if shortage:
            work.notice(shortage)
        work.listen(Metrics(work.folder.name))

    def _start(self, work: Work) -> Tuning:
        assert work.folder is not None
        assert self._connection is not None
        tuning.prepare()
        run = RunFolder.seen(work.folder)
        node = ray.get_runtime_context().get_node_id()
        sent = () if self._connection.started else shipments(self._spec, node)
        return Tuning(
            Office(self._spec, run, sent),
            self._slots,
            workers=self._workers,
            resources=self._resources(),
            loggers=callbacks(self._log, run.path),
        )

    def _end(self) -> None:
        if self._tuning is not None:
            self._tuning.end()
            self._tuning = None

    def _resources(self) -> dict[str, float]:
        if self._spec.device.startswith("cuda"):
            return {"CPU": 1, "GPU": self._gpus_per_worker}
        return {"CPU": 1}
