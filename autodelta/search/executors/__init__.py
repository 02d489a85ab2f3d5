"""Where trials run. An executor asks for orders and tells of reports and outcomes; it decides nothing."""

import os
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from autodelta.search.settings import Settings
    from autodelta.search.work import Work


ADDRESS = "RAY_ADDRESS"  # what Ray itself reads, and sets for submitted jobs
CLIENT = "ray://"  # how a cluster is called that this machine is no part of


class Executor(Protocol):
    """Does work on its workers, once or several times. A context: leaving it gives every worker back."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...

    def run(self, work: "Work") -> None:
        """Does what there is to do, until there is no more."""


def cluster_address(asked: str | None) -> str | None:
    """The address of the Ray cluster that was asked for, or that the environment names; None: there is none."""
    return asked or os.environ.get(ADDRESS) or None


def driven_elsewhere(settings: "Settings") -> str | None:
    """The address of the cluster in which a search must be driven, where that is not here."""
    address = cluster_address(settings.address) if settings.executor == "ray" else None
    return address if address is not None and address.startswith(CLIENT) else None


def executor(settings: "Settings") -> Executor:
    """The executor that the settings name: in this process, in several, or on Ray."""
    if settings.executor == "ray":
        from autodelta.search.executors.ray import RayTune

        return RayTune(
            settings.worker,
            workers=settings.workers,
            gpus_per_worker=settings.gpus_per_worker,
            address=settings.address,
            log=settings.log,
        )
    if settings.workers > 1:
        from autodelta.search.executors.processes import Processes

        return Processes(settings.worker, workers=settings.workers)
    from autodelta.search.executors.local import InProcess

    return InProcess(settings.worker)
