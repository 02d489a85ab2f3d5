"""The desk between the search and Ray, whose news come in threads of their own, Tune's among them.

They ask and tell here, and the search's thread hears them one by one. So the study's files are touched by one thread,
an error of the work's is an error of the search and not one that Tune swallows, and Ctrl-C never lands inside Tune.
"""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from autodelta.search.executors.ray.seat import Sealed
from autodelta.search.work import Work

T = TypeVar("T")
LOOK_SECONDS = 1.0  # between looks whether the desk has closed


@dataclass
class _Question:
    ask: Callable[[Work], Any]
    answer: "Future[Any]" = field(default_factory=Future)


class Desk:
    """Passes questions from other threads to the search's, and orders from there to Tune's."""

    def __init__(self) -> None:
        self._questions: queue.SimpleQueue[_Question] = queue.SimpleQueue()
        self._orders: queue.SimpleQueue[Sealed] = queue.SimpleQueue()
        self._closed = threading.Event()

    def __reduce__(self) -> tuple[type["Desk"], tuple[()]]:
        """Nothing of it: Tune writes its searcher into a snapshot that nothing is ever read from."""
        return Desk, ()

    @property
    def closed(self) -> bool:
        return self._closed.is_set()

    def ask(self, question: Callable[[Work], T], *, otherwise: T) -> T:
        """In another thread: waits until the search answers; ``otherwise`` once it does not any more."""
        asked = _Question(question)
        self._questions.put(asked)
        while not self.closed:
            try:
                answer: T = asked.answer.result(LOOK_SECONDS)
            except TimeoutError:
                continue
            return answer
        return otherwise

    def tell(self, news: Callable[[Work], None]) -> None:
        """In another thread: has the search hear something, and does not wait for it."""
        self._questions.put(_Question(news))

    def take(self, *, seconds: float) -> Sealed | None:
        """In Tune's thread: an order that was handed out, if there is one in that time."""
        try:
            return self._orders.get(timeout=seconds) if seconds else self._orders.get_nowait()
        except queue.Empty:
            return None

    def hand(self, order: Sealed) -> None:
        """In the search's thread: gives an order to Tune."""
        self._orders.put(order)

    def serve(self, work: Work, *, seconds: float) -> bool:
        """In the search's thread: answers what was asked, or waits so long for a question; whether there was one.

        Raises:
            Whatever the work raised; then the desk is closed.
        """
        try:
            asked = self._questions.get(timeout=seconds) if seconds else self._questions.get_nowait()
        except queue.Empty:
            return False
        try:
            asked.answer.set_result(asked.ask(work))
        except BaseException:
            self.close()
            raise
        return True

    def close(self) -> None:
        """From now on nothing is answered."""
        self._closed.set()
