"""Where trials run. An executor asks the session for orders and tells it reports and outcomes; it decides nothing."""

from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

from autodelta.candidate import Candidate

if TYPE_CHECKING:
    from autodelta.search.session import Session
    from autodelta.search.settings import Settings


class Executor(Protocol):
    """Runs the trials of a session on its workers. A context: leaving it gives every worker back."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...

    def run(self, session: "Session") -> None:
        """Runs trials until the session has no more."""

    def score(self, session: "Session", candidate: Candidate, weights: Path, split: str) -> float:
        """Scores saved weights on a split."""


def executor(settings: "Settings") -> Executor:
    """The executor that the settings name: in this process, in several, or on Ray."""
    if settings.executor == "ray":
        from autodelta.search.executors.ray import RayTune

        return RayTune(settings.worker, workers=settings.workers)
    if settings.workers > 1:
        from autodelta.search.executors.processes import Processes

        return Processes(settings.worker, workers=settings.workers)
    from autodelta.search.executors.local import InProcess

    return InProcess(settings.worker)
