"""One worker in this process: for a laptop, a debugger, and results that are the same twice."""

from functools import partial
from pathlib import Path
from typing import Self

from autodelta.candidate import Candidate
from autodelta.engine.assignment import WorkerSpec
from autodelta.search.attempt import KeptWorker, drive
from autodelta.search.ledger import Spending
from autodelta.search.session import Session

SLOT = 0


class InProcess:
    """Trains one trial after the other right here."""

    def __init__(self, spec: WorkerSpec) -> None:
        self._worker = KeptWorker(spec)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None: ...

    def run(self, session: Session) -> None:
        """Runs trials until the session has no more."""
        session.holds(SLOT, Spending.START_UP)
        self._worker.open()
        session.holds(SLOT, Spending.IDLE)
        while (order := session.next()) is not None:
            number = order.number
            session.holds(SLOT, Spending.TRIAL, trial=number)
            outcome = drive(self._worker.attempt(order), partial(session.report, number))
            session.holds(SLOT, Spending.IDLE)
            session.ended(number, outcome)

    def score(self, session: Session, candidate: Candidate, weights: Path, split: str) -> float:
        """Scores saved weights on a split."""
        session.holds(SLOT, Spending.TEST)
        try:
            return self._worker.open().score(candidate, weights, split)
        finally:
            session.releases(SLOT)
