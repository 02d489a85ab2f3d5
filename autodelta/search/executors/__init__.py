"""Where trials run. An executor asks for orders and tells of reports and outcomes; it decides nothing."""

from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from autodelta.search.settings import Settings
    from autodelta.search.work import Work


class Executor(Protocol):
    """Does work on its workers, once or several times. A context: leaving it gives every worker back."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...

    def run(self, work: "Work") -> None:
        """Does what there is to do, until there is no more."""


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
