"""Slots and the counter of an engine: who is given which order, and what becomes of it. They need no cluster."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from autodelta.errors import UserError
from autodelta.search.attempt import Order
from autodelta.search.ledger import Spending
from autodelta.search.records import Outcome
from tests.search import fakes

pytest.importorskip("ray")

from autodelta.search.executors.messages import Broken
from autodelta.search.executors.ray import slots as slots_module
from autodelta.search.executors.ray.engine import Asks, Counter, Opened
from autodelta.search.executors.ray.slots import DEATHS_AT_START, Slots
from tests.search.ray_fakes import Scripted, order, report


class Crew:
    """Writes down what it is to do."""

    def __init__(self) -> None:
        self.said: list[tuple[Any, ...]] = []

    def start(self, slots: Slots, slot: int) -> None:
        self.said.append(("start", slot))

    def hand(self, slot: int, ticket: int, order: Order) -> None:
        self.said.append(("hand", slot, ticket))

    def decline(self, slot: int, question: int) -> None:
        self.said.append(("decline", slot, question))

    def drop(self, slot: int, ticket: int) -> None:
        self.said.append(("drop", slot, ticket))

    def end(self, slot: int) -> None:
        self.said.append(("end", slot))

    def let_go(self, slot: int) -> None:
        self.said.append(("let go", slot))


class Served:
    """Serves a counter in a thread, with trials that report at 10, 20 and 40, until there is none for a while."""

    def __init__(self) -> None:
        self.orders: list[int] = []
        self.outcomes: list[str] = []

    @contextmanager
    def by(self, counter: Counter) -> Iterator[None]:
        threading.Thread(target=self._serve, args=(counter,), daemon=True).start()
        yield

    def _serve(self, counter: Counter) -> None:
        while True:
            found = counter.next(beside=0, room=True)
            assert found is not None
            self.orders.append(found.number)
            goes_on = all(counter.report(found.number, report(step)) for step in (10, 20, 40))
            self.outcomes.append("complete" if goes_on else "pruned")
            counter.ended(found.number, Outcome(state="complete" if goes_on else "pruned"))


def staffed(*, orders: int, workers: int = 1) -> tuple[Scripted, Crew, Slots]:
    work, crew = Scripted(orders), Crew()
    slots = Slots(workers, crew)
    slots.begin(work)
    return work, crew, slots


def asks(number: int, *beside: int) -> Asks:
    return Asks(number=number, beside=frozenset(beside))


def broken(error: Exception) -> Broken:
    try:
        raise error
    except Exception as raised:
        return Broken.of(raised)


def result(count: int, step: int) -> dict[str, Any]:
    return {"results": count, "report": report(step).model_dump_json()}


def complete() -> dict[str, Any]:
    return {**result(1, 40), "outcome": Outcome(state="complete").model_dump_json()}


def test_an_engine_opens_before_it_is_given_an_order_and_each_result_is_heard_once() -> None:
    work, crew, slots = staffed(orders=1)
    assert crew.said == [("start", 0)]
    slots.told(work, 0, Opened(seconds=2.0, node="node"))
    assert work.left == [0]
    slots.told(work, 0, asks(1))
    assert crew.said[1:] == [("hand", 0, 1)]
    assert slots.hear(work, 1, result(1, 10)) is True
    assert slots.hear(work, 1, result(2, 20)) is False
    slots.end(work, 1, result(2, 20))  # Tune hands over the last result once more
    assert work.told == [("report", 0, 10), ("report", 0, 20), ("ended", 0, "pruned")]
    assert crew.said[2:] == [("drop", 0, 1)]
    assert not slots.done
    slots.told(work, 0, asks(2))
    assert slots.done
    assert work.accounts.ledger.by_kind()[Spending.START_UP] == pytest.approx(2.0, abs=0.5)


def test_engines_are_kept_from_phase_to_phase() -> None:
    work, crew, slots = staffed(orders=2, workers=2)
    for slot in (0, 1):
        slots.told(work, slot, Opened(seconds=0.1, node="node"))
        slots.told(work, slot, asks(1))
    for ticket in (1, 2):
        slots.end(work, ticket, complete())
    for slot in (0, 1):
        slots.told(work, slot, asks(2))
    assert slots.done
    slots.begin(Scripted(0))
    assert slots.done
    slots.begin(Scripted(1))
    assert crew.said[4:] == [("hand", 0, 3), ("let go", 1)]


def test_an_engine_with_nothing_to_do_gives_its_device_back_until_there_is_work_again() -> None:
    work, crew, slots = staffed(orders=1, workers=2)
    for slot in (0, 1):
        slots.told(work, slot, Opened(seconds=0.1, node="node"))
        slots.told(work, slot, asks(1))
    assert crew.said[2:] == [("hand", 0, 1), ("let go", 1)]
    assert work.accounts.ledger._leases.keys() == {0}
    assert not slots.done
    slots.end(work, 1, complete())
    slots.told(work, 0, asks(2))
    assert slots.done
    slots.begin(Scripted(0))
    assert slots.done
    slots.begin(Scripted(2))
    assert crew.said[4:] == [("hand", 0, 2), ("start", 1)]


def test_the_order_of_an_engine_that_died_goes_to_the_one_in_its_place() -> None:
    work, crew, slots = staffed(orders=1)
    slots.told(work, 0, Opened(seconds=0.1, node="node"))
    slots.told(work, 0, asks(1))
    slots.end(work, 1, {"results": 1, "lost": True, "done": True})  # the client hears of it first
    assert work.told == []
    slots.bury(work, 0, "its worker process died")
    assert work.told == [("lost", 0, "its worker process died")]
    slots.told(work, 0, Opened(seconds=0.1, node="node"))
    slots.told(work, 0, asks(1))
    assert crew.said[1:] == [("hand", 0, 1), ("end", 0), ("start", 0), ("hand", 0, 2)]
    assert slots.hear(work, 1, result(1, 10)) is False


def test_the_order_of_a_client_that_died_is_dropped_and_given_out_again() -> None:
    work, crew, slots = staffed(orders=1)
    slots.told(work, 0, Opened(seconds=0.1, node="node"))
    slots.told(work, 0, asks(1))
    slots.lose(work, 1, "its worker process died")
    assert work.told == [("lost", 0, "its worker process died")]
    slots.told(work, 0, asks(2))
    assert crew.said[1:] == [("hand", 0, 1), ("drop", 0, 1), ("hand", 0, 2)]


def test_all_orders_of_an_engine_that_fell_silent_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = fakes.Clock()
    monkeypatch.setattr(slots_module.time, "monotonic", clock)
    work, _, slots = staffed(orders=2)
    slots.told(work, 0, Opened(seconds=0.0, node="node"))
    slots.told(work, 0, asks(1))
    slots.told(work, 0, asks(2, 1))
    clock.sleep(61.0)
    slots.bury(work, 0, "its worker process died")
    assert work.told == [("lost", number, "its worker was silent for 61 s, so it was ended") for number in (0, 1)]


def test_an_engine_with_room_is_given_orders_beside_the_others_when_all_know_what_ended() -> None:
    work, crew, slots = staffed(orders=3)
    slots.told(work, 0, Opened(seconds=0.1, node="node"))
    slots.told(work, 0, asks(1))
    slots.told(work, 0, asks(2, 1))
    assert work.beside == [0, 1]
    lease = work.accounts.ledger._leases[0]
    assert (lease.kind, lease.trials) == (Spending.TRAINING, (0, 1))
    slots.told(work, 0, asks(3, 2))  # its first has ended there, and Tune has not said so yet
    assert work.beside == [0, 1]
    slots.end(work, 1, complete())
    assert work.told[-1] == ("ended", 0, "complete")
    assert work.beside == [0, 1, 1]
    slots.told(work, 0, asks(4, 2, 3))
    assert crew.said[1:] == [("hand", 0, 1), ("hand", 0, 2), ("hand", 0, 3), ("decline", 0, 4)]
    slots.end(work, 2, complete())  # without room nothing is asked for
    assert work.beside == [0, 1, 1, 2]


def test_engines_that_die_while_they_open_lose_no_order_and_end_the_search_after_three() -> None:
    work, crew, slots = staffed(orders=1)
    for _ in range(DEATHS_AT_START - 1):
        slots.bury(work, 0, "its worker process died")
    with pytest.raises(RuntimeError, match="die before they are ready"):
        slots.bury(work, 0, "its worker process died")
    assert work.told == []
    assert crew.said == [("start", 0)] * DEATHS_AT_START


def test_what_an_engine_could_not_open_is_the_searchs_error() -> None:
    for error, kind in ((UserError("unknown backbone"), UserError), (ValueError("unknown backbone"), RuntimeError)):
        work, _, slots = staffed(orders=1)
        with pytest.raises(kind, match="unknown backbone"):
            slots.told(work, 0, broken(error))


def test_an_order_is_brought_reports_goes_on_and_ends_at_the_counter() -> None:
    counter, served = Counter(), Served()
    with served.by(counter):
        assert counter.told() == asks(1)
        assert counter.bring(7, order(3)).report == report(10)
        assert counter.go_on(7).report == report(20)
        last = counter.go_on(7)
        assert last.report == report(40)
        assert last.outcome == Outcome(state="complete")
        assert counter.told() == asks(2)
    assert served.orders == [3]


def test_an_order_that_is_dropped_ends_at_its_report_and_one_that_never_came_is_asked_for_again() -> None:
    counter, served = Counter(), Served()
    with served.by(counter):
        assert counter.told() == asks(1)
        counter.drop(6)
        assert counter.told() == asks(2)
        assert counter.bring(6, order(2)).outcome == Outcome(state="pruned")  # too late
        assert counter.bring(7, order(3)).report == report(10)
        counter.drop(7)
        assert counter.told() == asks(3)
        assert counter.go_on(7).outcome == Outcome(state="pruned")
    assert served.orders == [3]
    assert served.outcomes == ["pruned"]


def test_a_worker_stands_still_until_what_it_asks_for_is_brought_or_declined() -> None:
    counter = Counter()
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(counter.bring, 1, order(1))
        assert counter.next(beside=0, room=True) == order(1)
        asked = pool.submit(counter.next, beside=1, room=True)
        assert counter.told() == asks(1, 1)
        assert not asked.done()
        counter.decline(1)
        assert asked.result(10) is None
        assert counter.next(beside=1, room=False) is None
        counter.ended(1, Outcome(state="failed"))
        assert first.result(10).outcome == Outcome(state="failed")
