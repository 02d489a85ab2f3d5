"""Which orders are at which engine, for the ledger: what engines and Ray Tune's trials say becomes orders, reports and
outcomes.

An engine opens before it is asked what it is to do. It stands still while it asks for an order, so that what the search
decides does not hang on how fast Tune is.
"""

import time
from dataclasses import dataclass, field
from typing import Any, Protocol

from autodelta.engine.report import Report
from autodelta.search.attempt import Order
from autodelta.search.executors.messages import Broken, Message
from autodelta.search.executors.ray.engine import Asks, Opened
from autodelta.search.ledger import Spending
from autodelta.search.records import Outcome
from autodelta.search.work import Work

DEATHS_AT_START = 3  # in a row; then there is something wrong that no replacement mends


class Crew(Protocol):
    """What slots have done by their engines."""

    def start(self, slots: "Slots", slot: int) -> None: ...

    def hand(self, slot: int, ticket: int, order: Order) -> None: ...

    def decline(self, slot: int, question: int) -> None: ...

    def drop(self, slot: int, ticket: int) -> None: ...

    def end(self, slot: int) -> None: ...

    def let_go(self, slot: int) -> None: ...


@dataclass(eq=False)
class _Slot:
    number: int
    away: bool = False  # it has no engine
    ready: bool = False
    orders: dict[int, Order] = field(default_factory=dict)  # by ticket: handed out and not ended
    question: Asks | None = None  # the last one
    answered: int = 0  # the number of the last one that has its answer
    idle: bool = False  # there was nothing to do for it
    heard: float = field(default_factory=time.monotonic)  # when it last said something

    @property
    def asks(self) -> bool:
        """Whether its question stands: its engine knows of all its orders, and of no more."""
        question = self.question
        return question is not None and question.number > self.answered and question.beside == set(self.orders)


@dataclass(eq=False)
class _Held:
    slot: _Slot
    order: Order
    results: int = 0  # heard so far


class Slots:
    """As many places as there are engines. Everything here runs in the search's thread."""

    def __init__(self, workers: int, crew: Crew) -> None:
        self._crew = crew
        self._slots = [_Slot(number, away=True) for number in range(workers)]
        self._held: dict[int, _Held] = {}  # by ticket
        self._tickets = 0
        self._deaths = 0

    def __reduce__(self) -> tuple[type["Slots"], tuple[int, None]]:
        """As good as nothing: Tune writes its searcher into a snapshot that nothing is ever read from."""
        return Slots, (0, None)

    @property
    def done(self) -> bool:
        """Whether nothing runs and nothing more is wanted of any engine that is ready."""
        ready = [slot for slot in self._slots if slot.ready]
        return not self._held and bool(ready) and all(slot.idle for slot in ready)

    def begin(self, work: Work) -> None:
        """There is work again: for the engine that was kept, and where that is not enough, for others that start."""
        away = [slot.number for slot in self._slots if slot.away]
        self._ask_again(work)
        for number in away if not self.done else ():
            self._slots[number] = _Slot(number)
            self._crew.start(self, number)

    def told(self, work: Work, number: int, message: Message) -> None:
        """What an engine says of itself.

        Raises:
            UserError: it cannot be opened, by a mistake in what was asked for.
            RuntimeError: it failed for another reason.
        """
        slot = self._slots[number]
        slot.heard = time.monotonic()
        if isinstance(message, Broken):
            raise message.error()
        if isinstance(message, Opened):
            slot.ready, self._deaths = True, 0
            work.holds(number, Spending.START_UP, ago=message.seconds)
            work.holds(number, Spending.IDLE)
        if isinstance(message, Asks):
            slot.question = message
            self._answer(work, slot)

    def hear(self, work: Work, ticket: int, result: dict[str, Any]) -> bool:
        """Takes in a result of a client, once; whether its order is to go on."""
        held = self._held.get(ticket)
        if held is None or result["results"] <= held.results:
            return held is not None
        held.results, held.slot.heard = result["results"], time.monotonic()
        if "report" not in result:
            return True
        return work.report(held.order.number, Report.model_validate_json(result["report"]))

    def end(self, work: Work, ticket: int, result: dict[str, Any]) -> None:
        """An order came to its end, or was stopped."""
        held = self._held.get(ticket)
        if held is None:
            return
        self.hear(work, ticket, result)
        slot = held.slot
        if "lost" in result:  # its client found no engine; ``bury`` hears of that
            self._crew.end(slot.number)
            return
        self._forget(ticket)
        if "outcome" in result:
            outcome = Outcome.model_validate_json(result["outcome"])
        else:
            outcome = Outcome(state="pruned")
            self._crew.drop(slot.number, ticket)
        work.holds(slot.number, Spending.IDLE)
        work.ended(held.order.number, outcome)
        self._book(work, slot)
        self._answer(work, slot)

    def lose(self, work: Work, ticket: int, words: str) -> None:
        """A client died; its engine lets the order go."""
        held = self._held.get(ticket)
        if held is None:
            return
        self._forget(ticket)
        self._crew.drop(held.slot.number, ticket)
        work.holds(held.slot.number, Spending.IDLE)
        self._book(work, held.slot)
        work.lost(held.order.number, words)
        self._ask_again(work)

    def bury(self, work: Work, number: int, words: str) -> None:
        """An engine died: its orders go on elsewhere or have failed, and another takes its place.

        Raises:
            RuntimeError: engines die one after the other before they are ready.
        """
        slot = self._slots[number]
        work.releases(number)
        if not slot.ready:
            self._deaths += 1
            if self._deaths >= DEATHS_AT_START:
                raise RuntimeError(f"Ray's workers die before they are ready ({words}); see the logs of Ray's workers")
        orders = dict(slot.orders)
        for ticket in orders:
            self._forget(ticket)
        words = _silent(slot, orders.values()) or words
        self._slots[number] = _Slot(number)
        self._crew.start(self, number)
        for order in orders.values():
            work.lost(order.number, words)
        self._ask_again(work)

    def cut(self, work: Work) -> None:
        """Everything that runs ends here."""
        for held in self._held.values():
            work.ended(held.order.number, Outcome(state="pruned"))
        self._held.clear()

    def give_back(self, work: Work) -> None:
        """No engine is held any more as far as the ledger goes."""
        for slot in self._slots:
            work.releases(slot.number)

    def _ask_again(self, work: Work) -> None:
        """There may be something to do again."""
        for slot in self._slots:
            slot.idle = False
        for slot in self._slots:
            self._answer(work, slot)

    def _answer(self, work: Work, slot: _Slot) -> None:
        """Answers an engine that asks, unless it is at nothing and there is nothing to do: then it gives its device
        back, or waits for what comes next if it is the last."""
        if slot.away or not slot.asks:
            return
        assert slot.question is not None
        work.holds(slot.number, Spending.IDLE)
        order = work.next(beside=len(slot.orders), room=True)
        if order is not None:
            slot.answered = slot.question.number
            self._tickets += 1
            slot.orders[self._tickets] = order
            self._held[self._tickets] = _Held(slot, order)
            slot.heard = time.monotonic()
            self._book(work, slot)
            self._crew.hand(slot.number, self._tickets, order)
        elif slot.orders:
            slot.answered = slot.question.number
            self._crew.decline(slot.number, slot.question.number)
            self._book(work, slot)
        else:
            slot.idle = True
            work.releases(slot.number)
            if self._held:
                slot.away, slot.ready = True, False
                self._crew.let_go(slot.number)

    def _book(self, work: Work, slot: _Slot) -> None:
        if slot.orders:
            numbers = [order.number for order in slot.orders.values()]
            work.holds(slot.number, Spending.TRAINING, trials=numbers)

    def _forget(self, ticket: int) -> None:
        del self._held.pop(ticket).slot.orders[ticket]


def _silent(slot: _Slot, orders: Any) -> str | None:
    """What to say of an engine that ended itself because its orders were silent."""
    silent = time.monotonic() - slot.heard
    patience = [order.silence for order in orders]
    if patience and all(one is not None and silent >= one for one in patience):
        return f"its worker was silent for {silent:.0f} s, so it was ended"
    return None
