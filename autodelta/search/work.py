"""What an executor is given to do, and the books that are kept while it does it."""

import errno
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from pathlib import Path

from autodelta.engine.report import Report
from autodelta.search.attempt import Order
from autodelta.search.budget import Budget, Spent
from autodelta.search.events import BudgetSpent, Event, Listener, Notice
from autodelta.search.ledger import Ledger, Spending
from autodelta.search.records import Outcome

OVERDUE_SECONDS = 15.0  # after the wall-clock limit, before a worker that does not report is ended
LOSSES = 1  # workers that may die under a trial before it has failed
SILENCE = 10.0  # times the time that a report should take, before a worker is taken to hang
LEAST_SILENCE, FIRST_SILENCE = 120.0, 3600.0  # seconds: at the least, and while nothing is known


class Accounts:
    """Budget, ledger and events of a search: what may be spent, what is, and who is told."""

    def __init__(
        self,
        budget: Budget,
        ledger: Ledger,
        *,
        emit: Listener,
        confirm_share: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.budget = budget
        self.search_budget = budget.for_search(confirm_share)
        self.confirm_share = confirm_share
        self.ledger = ledger
        self.emit = emit
        self.clock = clock
        self._shown = -math.inf

    def spent(self, trials: int = 0) -> Spent:
        """What has been used up, all kinds of spending together."""
        return Spent(device_seconds=self.ledger.device_seconds, wall_seconds=self.ledger.wall_seconds, trials=trials)

    def tick(self, standing: Callable[[], tuple[Spent, float | None]]) -> None:
        """Books time; says about once a second how the budget stands."""
        self.ledger.tick()
        now = self.clock()
        if now - self._shown >= 1.0:
            self._shown = now
            spent, seconds_left = standing()
            self.emit(self.standing(spent, seconds_left))

    def standing(self, spent: Spent, seconds_left: float | None) -> Event:
        """How the budget stands."""
        return BudgetSpent(
            budget={**self.budget.as_json(spent), "by_kind": self.ledger.by_kind()},
            share=self.budget.share_spent(spent),
            seconds_left=seconds_left,
        )


class Work(ABC):
    """Orders to start, whether to go on after a report, and where to tell outcomes: all that an executor knows."""

    def __init__(self, folder: Path | None, accounts: Accounts) -> None:
        self.folder = folder  # None: nothing is written
        self.accounts = accounts

    @abstractmethod
    def next(self, *, beside: int = 0, room: bool = True) -> Order | None:
        """What to start; None when this worker is not needed any more, or is to do nothing else now.

        Args:
            beside: orders that the worker is at already.
            room: whether another one beside these would pay.
        """

    @abstractmethod
    def report(self, number: int, report: Report) -> bool:
        """Notes a report; whether the order is to go on."""

    @abstractmethod
    def ended(self, number: int, outcome: Outcome) -> None:
        """Notes how an order ended."""

    @abstractmethod
    def lost(self, number: int, words: str) -> None:
        """Notes that the worker died under an order, which goes on elsewhere, or has failed."""

    @abstractmethod
    def silence(self, number: int) -> float:
        """Seconds without a report after which the worker of an order is taken to hang."""

    @abstractmethod
    def tick(self) -> None:
        """Books time; to be called about every second."""

    @staticmethod
    def check_room(outcome: Outcome) -> None:
        """A worker that could not write says nothing of its trial.

        Raises:
            OSError: it could not.
        """
        if outcome.no_room:
            raise OSError(errno.ENOSPC, outcome.reason)

    def holds(self, worker: int, kind: Spending, *, trials: Collection[int] = (), ago: float = 0.0) -> None:
        """A worker does this from now on, or since ``ago`` seconds."""
        self.accounts.ledger.enter(worker, self._kind(kind), trials=trials, ago=ago)

    def releases(self, worker: int) -> None:
        """A worker is given back."""
        self.accounts.ledger.leave(worker)

    def notice(self, text: str) -> None:
        """Tells the user something."""
        self.accounts.emit(Notice(text=text))

    def listen(self, listener: Listener) -> None:
        """Has one more listener told everything that happens from now on."""
        told = self.accounts.emit

        def emit(event: Event) -> None:
            told(event)
            listener(event)

        self.accounts.emit = emit

    @property
    def overdue(self) -> bool:
        """Whether workers that have not reported since the wall-clock ran out must be ended."""
        limit = self.accounts.budget.wall_seconds
        return limit is not None and self.accounts.ledger.wall_seconds > limit + OVERDUE_SECONDS

    def _kind(self, kind: Spending) -> Spending:
        """What a worker's time is booked as."""
        return kind


def patience(expected_seconds: float | None) -> float:
    """Seconds without a report after which a worker is taken to hang, from what a report should take."""
    return FIRST_SILENCE if expected_seconds is None else max(LEAST_SILENCE, SILENCE * expected_seconds)
