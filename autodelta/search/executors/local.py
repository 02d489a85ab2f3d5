"""One worker in this process: for a laptop, a debugger, and results that are the same twice."""

from functools import partial
from typing import Self

from autodelta.engine.assignment import WorkerSpec
from autodelta.search.attempt import KeptWorker, drive
from autodelta.search.ledger import Spending
from autodelta.search.work import Work

SLOT = 0


class InProcess:
    """Does one order after the other right here."""

    def __init__(self, spec: WorkerSpec) -> None:
        self._worker = KeptWorker(spec)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None: ...

    def run(self, work: Work) -> None:
        """Does what there is to do, until there is no more."""
        work.holds(SLOT, Spending.START_UP)
        try:
            self._worker.open()
            work.holds(SLOT, Spending.IDLE)
            while (order := work.next()) is not None:
                work.holds(SLOT, Spending.TRAINING, trial=order.number)
                outcome = drive(self._worker.attempt(order), partial(work.report, order.number))
                work.holds(SLOT, Spending.IDLE)
                work.ended(order.number, outcome)
        finally:
            work.releases(SLOT)
