"""Work and orders for tests of the Ray executor's parts."""

from pathlib import Path
from typing import Any

from autodelta.engine.assignment import Assignment
from autodelta.engine.report import Report
from autodelta.search.attempt import Order
from autodelta.search.budget import parse
from autodelta.search.ledger import Ledger
from autodelta.search.records import Outcome
from autodelta.search.work import Accounts, Work
from tests.search import fakes


class Scripted(Work):
    """Work with so many orders, that writes down what it is told."""

    def __init__(self, orders: int) -> None:
        super().__init__(None, Accounts(parse("9trials"), Ledger(None), emit=lambda event: None, confirm_share=0.0))
        self.left = list(range(orders))
        self.told: list[tuple[Any, ...]] = []
        self.beside: list[int] = []

    def next(self, *, beside: int = 0, room: bool = True) -> Order | None:
        self.beside.append(beside)
        return order(self.left.pop(0)) if self.left else None

    def report(self, number: int, report: Report) -> bool:
        self.told.append(("report", number, report.step))
        return report.step < 20

    def ended(self, number: int, outcome: Outcome) -> None:
        self.told.append(("ended", number, outcome.state))

    def lost(self, number: int, words: str) -> None:
        self.told.append(("lost", number, words))
        self.left.append(number)

    def silence(self, number: int) -> float:
        return 60.0

    def tick(self) -> None: ...


def order(number: int) -> Order:
    assignment = Assignment(number=number, candidate=fakes.a_candidate(), seed=1, report_at=(10, 20, 40))
    return Order(assignment=assignment, folder=Path("/runs/first/trials") / str(number), silence=60.0)


def report(step: int) -> Report:
    return Report(step=step, score=0.5, train_loss=1.0, device_seconds=0.1, done=step == 40)
