"""What a confirmation run gave, and how the runs of several entrants are laid side by side."""

from collections.abc import Iterable, Sequence
from typing import Literal

from autodelta.candidate import Candidate
from autodelta.frozen import Frozen

Split = Literal["validation", "test"]


class Confirmed(Frozen):
    """One candidate trained again, at a seed that the search has not used; the n-th seed is the same for all."""

    entrant: str
    candidate: Candidate
    seed_index: int
    seed: int
    validation: float | None  # None: it did not come to its end
    test: float | None = None
    predictions: tuple[str, ...] | None = None  # on test
    device_seconds: float = 0.0
    reason: str = ""  # why it did not come to its end

    @property
    def failed(self) -> bool:
        return self.validation is None


def of(results: Iterable[Confirmed], entrant: str) -> list[Confirmed]:
    """An entrant's runs, by seed."""
    return sorted((run for run in results if run.entrant == entrant), key=lambda run: run.seed_index)


def scores(results: Iterable[Confirmed], entrant: str, split: Split = "validation") -> dict[int, float]:
    """An entrant's score at every seed at which it was taken."""
    found = {run.seed_index: getattr(run, split) for run in of(results, entrant)}
    return {seed: score for seed, score in found.items() if score is not None}


def failure(results: Iterable[Confirmed], entrant: str) -> str | None:
    """Why a run of an entrant did not come to its end; None if all did."""
    return next((run.reason or "it did not come to its end" for run in of(results, entrant) if run.failed), None)


def shared(columns: Sequence[dict[int, float]]) -> list[int]:
    """The seeds at which all of them have a score."""
    return sorted(set.intersection(*map(set, columns))) if columns else []
