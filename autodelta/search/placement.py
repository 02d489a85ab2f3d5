"""Where a search runs: on which executor, on which devices, with how many workers."""

import importlib.util
from dataclasses import dataclass
from typing import Literal

from autodelta.engine import devices
from autodelta.errors import UserError, one_of
from autodelta.search.executors import cluster_address

EXECUTORS = ("local", "ray")


@dataclass(frozen=True)
class Place:
    """Where a search runs."""

    executor: Literal["local", "ray"]
    device: str
    workers: int
    dtype: str | None = None  # that its devices are fast at, where this machine cannot tell
    cluster: bool = False  # there are other machines than this one

    @property
    def here(self) -> str:
        """The device to look at a backbone with on this machine, which may have no GPU."""
        return "cpu" if self.cluster else self.device


def place(
    *,
    executor: str | None,
    workers: int | None,
    device: str | None,
    gpus_per_worker: float = 1.0,
    address: str | None = None,
    log: tuple[str, ...] = (),
) -> Place:
    """The place that was asked for; what is None is decided from the machine, or from the cluster.

    Raises:
        UserError: there is no such device, no cluster at the address, or no room for so many workers.
    """
    there = cluster_address(address) if has_ray() else None
    wants_ray = executor == "ray" or (executor is None and (there is not None or bool(log)))
    if wants_ray and there is not None:
        found = _in_cluster(workers, device, gpus_per_worker=gpus_per_worker, address=there)
    else:
        devices.check_room(workers or 1, "--workers")
        where = devices.chosen(device)
        workers = workers or devices.fit(devices.workers(where), gpus_per_worker if where == "cuda" else 1)
        many = workers > 1 and executor is None and has_ray()
        found = Place("ray" if wants_ray or many else "local", where, workers)
    if gpus_per_worker != 1 and found.device != "cuda":
        raise UserError(f"--gpus-per-worker shares a GPU, but the device is {found.device!r}")
    return found


def check(
    executor: str | None,
    workers: int | None,
    *,
    gpus_per_worker: float = 1.0,
    address: str | None = None,
    log: tuple[str, ...] = (),
) -> None:
    """Looks whether what was asked for can be at all; nothing is connected.

    Raises:
        UserError: it cannot.
    """
    if workers is not None and workers < 1:
        raise UserError(f"the number of workers must be at least 1: {workers}")
    if not 0 < gpus_per_worker <= 1:
        raise UserError(f"--gpus-per-worker is a share of a GPU, above 0 and at most 1: {gpus_per_worker:g}")
    if executor is not None and executor not in EXECUTORS:
        raise one_of("executor", executor, EXECUTORS)
    for flag, given in (("--address", address), ("--log", log)):
        if given and executor == "local":
            raise UserError(f"{flag} is Ray's: choose --executor ray")
        if given and not has_ray():
            raise UserError(f"{flag} needs Ray: pip install 'autodelta[ray]'")
    if executor == "ray" and not has_ray():
        raise UserError("the executor 'ray' needs Ray: pip install 'autodelta[ray]', or choose --executor local")


def has_ray() -> bool:
    """Whether Ray is installed."""
    return importlib.util.find_spec("ray") is not None


def _in_cluster(workers: int | None, device: str | None, *, gpus_per_worker: float, address: str) -> Place:
    from autodelta.search.executors.ray import cluster

    cluster.connect(address)
    machines = cluster.machines()
    where = machines.device(device)
    return Place(
        "ray",
        where,
        workers or machines.workers(where, gpus_per_worker=gpus_per_worker),
        dtype=cluster.best_dtype(gpus_per_worker) if where == "cuda" else None,
        cluster=True,
    )
