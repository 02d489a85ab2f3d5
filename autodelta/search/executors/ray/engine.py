"""The engine: the one actor that holds a device, with backbone, task and caches, for as long as the search lasts.

Its worker serves in a thread of its own, as under every executor. Around it is a counter: clients bring orders there
and wait for reports, and the driver waits there for the engine's own words.
"""

import faulthandler
import math
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import ray

from autodelta.engine.assignment import WorkerSpec
from autodelta.engine.costs import MOST
from autodelta.engine.report import Report
from autodelta.search.attempt import KeptWorker, Order
from autodelta.search.executors.messages import Broken, Message
from autodelta.search.executors.ray.shared import RunFolder
from autodelta.search.executors.ray.shipping import Shipment, placed
from autodelta.search.records import Outcome
from autodelta.search.work import FIRST_SILENCE

CALLS = 2 * MOST + 4  # at a time: a client of each order waits, and some that were given up; the driver's own


@dataclass(frozen=True)
class Office:
    """Where an engine works."""

    spec: WorkerSpec
    run: RunFolder
    shipments: tuple[Shipment, ...] = ()


class Opened(Message):
    """Backbone and task are loaded."""

    seconds: float  # that it took
    node: str  # Ray's id of the node


class Asks(Message):
    """The engine stands still until it gets an order beside these, or hears that there is none."""

    number: int
    beside: frozenset[int]  # tickets of what it is at


class News(Message):
    """What happened to an order; with the last report comes the outcome."""

    report: Report | None = None
    outcome: Outcome | None = None


class Engine:
    """One worker of the search. Its methods are called by clients (``begin``, ``go_on``) and by the driver.

    An order is known by its ticket: one that is lost and given out again has the same number, but another ticket.
    """

    def __init__(self, office: Office) -> None:
        self._counter = Counter()
        self._office = office
        self._node = ray.get_runtime_context().get_node_id()
        threading.Thread(target=self._serve, name="engine", daemon=True).start()

    def told(self) -> Message:
        """Waits for what the engine says next: ``Opened``, ``Asks`` or ``Broken``."""
        return self._counter.told()

    def begin(self, ticket: int, order: Order) -> News:
        """Brings an order, and waits for its first news."""
        return self._counter.bring(ticket, order)

    def go_on(self, ticket: int) -> News:
        """Lets an order that has reported go on, and waits for its next news."""
        return self._counter.go_on(ticket)

    def decline(self, question: int) -> None:
        """There is nothing to do beside the others now."""
        self._counter.decline(question)

    def drop(self, ticket: int) -> None:
        """An order is to end at its next report; nobody waits for it any more."""
        self._counter.drop(ticket)

    def _serve(self) -> None:
        began = time.monotonic()
        try:
            self._office.run.check()
            worker = _Watched(placed(self._office.spec, self._office.shipments))
            with _ended_if_silent(FIRST_SILENCE):
                worker.open()
            self._counter.say(Opened(seconds=time.monotonic() - began, node=self._node))
            worker.serve(self._counter)
        except BaseException as error:  # told in the driver: here nobody would see it
            self._counter.say(Broken.of(error))


class _Watched(KeptWorker):
    """Ends its process when its orders have been silent for longer than any of them may be."""

    def begin(self, order: Order) -> Outcome | None:
        with _ended_if_silent(self._patience(order)):
            return super().begin(order)

    def advance(self) -> tuple[int, Report | Outcome]:
        with _ended_if_silent(self._patience()):
            return super().advance()

    def _patience(self, *more: Order) -> float:
        orders = (*self._orders.values(), *more)
        return max(math.inf if order.silence is None else order.silence for order in orders)


@contextmanager
def _ended_if_silent(seconds: float) -> Iterator[None]:
    """Ends this process if what is inside takes longer; also if it never gives the interpreter back."""
    if seconds == math.inf:
        yield
        return
    faulthandler.dump_traceback_later(seconds, exit=True, file=sys.__stderr__ or sys.stderr)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


@dataclass
class _Brought:
    """An order at the counter, and what goes to and fro about it."""

    order: Order
    report: Report | None = None
    news: News | None = None  # not yet taken
    may_go_on: bool = False
    dropped: bool = False


class Counter:
    """Where orders come in and news go out; also ``attempt.Client`` of the worker behind it."""

    def __init__(self) -> None:
        self._change = threading.Condition()
        self._said: deque[Message] = deque()
        self._waiting: dict[int, _Brought] = {}  # by ticket: not yet taken up
        self._taken: dict[int, _Brought] = {}
        self._known: set[int] = set()  # tickets that came, or were dropped before they did
        self._question = self._declined = 0
        self._again = False  # the answer to the question will not come: its client died

    # --- for clients and the driver ----------------------------------------------------------------------------

    def say(self, message: Message) -> None:
        with self._change:
            self._said.append(message)
            self._change.notify_all()

    def told(self) -> Message:
        with self._change:
            self._change.wait_for(lambda: self._said)
            return self._said.popleft()

    def bring(self, ticket: int, order: Order) -> News:
        with self._change:
            if ticket in self._known:
                return _stopped()
            self._known.add(ticket)
            brought = self._waiting[ticket] = _Brought(order)
            self._change.notify_all()
            return self._news(brought)

    def go_on(self, ticket: int) -> News:
        with self._change:
            brought = self._taken.get(ticket)
            if brought is None:
                return _stopped()
            brought.may_go_on = True
            self._change.notify_all()
            return self._news(brought)

    def decline(self, question: int) -> None:
        with self._change:
            self._declined = question
            self._change.notify_all()

    def drop(self, ticket: int) -> None:
        with self._change:
            waiting, taken = self._waiting.pop(ticket, None), self._taken.get(ticket)
            for brought in (waiting, taken):
                if brought is not None:
                    brought.dropped = True
            self._again |= waiting is not None or ticket not in self._known
            self._known.add(ticket)
            self._change.notify_all()

    def _news(self, brought: _Brought) -> News:
        self._change.wait_for(lambda: brought.news is not None or brought.dropped)
        found, brought.news = brought.news, None
        return found or _stopped()

    # --- for the worker ----------------------------------------------------------------------------------------

    def next(self, *, beside: int, room: bool) -> Order | None:
        """An order that was brought; asks for one and waits until it comes, or is declined."""
        with self._change:
            while room and not self._dropping():
                if self._waiting:
                    ticket = next(iter(self._waiting))
                    self._taken[ticket] = self._waiting.pop(ticket)
                    return self._taken[ticket].order
                if self._question and self._declined == self._question:
                    self._declined = 0
                    return None
                self._ask()
            return None

    def report(self, number: int, report: Report) -> bool:
        """Gives a report out and waits whether the order is to go on; the last one goes out with the outcome."""
        with self._change:
            brought = self._of(number)
            brought.report = report
            if report.done:
                return True
            brought.news, brought.may_go_on = News(report=report), False
            self._change.notify_all()
            self._change.wait_for(lambda: brought.may_go_on or brought.dropped)
            return not brought.dropped

    def ended(self, number: int, outcome: Outcome) -> None:
        """Gives out how an order ended."""
        with self._change:
            brought = self._of(number)
            last = brought.report if brought.report is not None and brought.report.done else None
            brought.news = News(report=last, outcome=outcome)
            self._taken = {ticket: other for ticket, other in self._taken.items() if other is not brought}
            self._change.notify_all()

    def _ask(self) -> None:
        """Asks for an order and waits for what comes of it."""
        self._question, self._again = self._question + 1, False
        self.say(Asks(number=self._question, beside=frozenset(self._taken)))
        self._change.wait_for(
            lambda: self._waiting or self._declined == self._question or self._again or self._dropping()
        )

    def _dropping(self) -> bool:
        """Whether something is still there that is to end; nothing is asked for until then."""
        return any(brought.dropped for brought in self._taken.values())

    def _of(self, number: int) -> _Brought:
        return next(brought for brought in self._taken.values() if brought.order.number == number)


def _stopped() -> News:
    return News(outcome=Outcome(state="pruned"))
