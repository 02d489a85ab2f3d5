"""One worker in this process: for a laptop, a debugger, and results that are the same twice."""

from typing import Self

from autodelta.engine.assignment import WorkerSpec
from autodelta.engine.report import Report
from autodelta.search.attempt import KeptWorker, Order
from autodelta.search.ledger import Spending
from autodelta.search.records import Outcome
from autodelta.search.work import Work

SLOT = 0


class InProcess:
    """Does orders right here: one after the other, or several at a time where that pays."""

    def __init__(self, spec: WorkerSpec) -> None:
        self._worker = KeptWorker(spec)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None: ...

    def run(self, work: Work) -> None:
        """Does what there is to do, until there is no more."""
        work.holds(SLOT, Spending.START_UP)
        try:
            with work.accounts.ledger.meanwhile():
                self._worker.open()
                self._worker.serve(_Booked(work))
        finally:
            work.releases(SLOT)


class _Booked:
    """Work that is done here: the ledger hears what the worker is at."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._trials: list[int] = []

    def next(self, *, beside: int, room: bool) -> Order | None:
        self._work.holds(SLOT, Spending.IDLE)
        order = self._work.next(beside=beside, room=room)
        if order is not None:
            self._trials.append(order.number)
        if self._trials:
            self._work.holds(SLOT, Spending.TRAINING, trials=self._trials)
        return order

    def report(self, number: int, report: Report) -> bool:
        return self._work.report(number, report)

    def ended(self, number: int, outcome: Outcome) -> None:
        self._trials.remove(number)
        self._work.holds(SLOT, Spending.IDLE)
        self._work.ended(number, outcome)
