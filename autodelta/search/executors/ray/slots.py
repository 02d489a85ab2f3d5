"""Which order is on which worker, for the ledger: how Ray Tune's trials become orders, reports and outcomes.

A worker is opened before it is asked what it is to do: Tune's first trial on it has no order, and only says that the
worker is ready, or what is wrong.
"""

import time
from dataclasses import dataclass, field
from typing import Any

from autodelta.engine.report import Report
from autodelta.errors import UserError
from autodelta.search.attempt import Order
from autodelta.search.ledger import Spending
from autodelta.search.records import Outcome
from autodelta.search.work import Work

DEATHS_AT_START = 3  # in a row; then there is something wrong that no replacement mends


@dataclass(frozen=True)
class Opening:
    """What a worker is told that is not ready yet: to load backbone and task."""

    slot: int


@dataclass
class _Held:
    slot: int
    order: Order | None
    results: int = 0  # heard so far
    heard: float = field(default_factory=time.monotonic)  # when it last said something


class Slots:
    """As many places as there are workers. Everything here runs in the search's thread."""

    def __init__(self, workers: int) -> None:
        self.held: dict[str, _Held] = {}  # by Tune's id
        self._all = range(workers)
        self._open: list[int] = []  # that have yet to be asked for
        self._ready: set[int] = set()  # that have a worker; Tune keeps one that has nothing to do
        self._enough = False  # the work has had nothing to do for one
        self._deaths = 0

    def __reduce__(self) -> tuple[type["Slots"], tuple[int]]:
        """As good as nothing: Tune writes its searcher into a snapshot that nothing is ever read from."""
        return Slots, (0,)

    @property
    def done(self) -> bool:
        """Whether nothing runs and nothing more is wanted."""
        return not self.held and not self._open

    @property
    def wanting(self) -> bool:
        """Whether a worker is free that has not been told that it is not needed."""
        return bool(self._open)

    def begin(self) -> None:
        """Every worker may be asked for again; those that are ready go first."""
        self._open = sorted(self._all, key=lambda slot: (slot not in self._ready, slot))
        self._enough = False

    def next(self, work: Work, trial_id: str) -> Order | Opening | None:
        """What a free worker is to do; one that is not needed is not asked for again."""
        if not self._open:
            return None
        slot = self._open.pop(0)
        if slot not in self._ready:
            if self._enough:
                return None
            self.held[trial_id] = _Held(slot, None)
            return Opening(slot)
        order = work.next()
        if order is None:
            self._enough = True
            work.releases(slot)
            if self._ready - {held.slot for held in self.held.values()} != {slot}:
                self._ready.discard(slot)
            return None
        self.held[trial_id] = _Held(slot, order)
        work.holds(slot, Spending.TRAINING, trials=(order.number,))
        return order

    def hear(self, work: Work, trial_id: str, result: dict[str, Any]) -> bool:
        """Takes in a result, once; whether the trial is to go on.

        Raises:
            UserError: the worker cannot be opened, by a mistake in what was asked for.
            RuntimeError: it cannot be opened for another reason.
        """
        held = self.held.get(trial_id)
        if held is None or result["results"] <= held.results:
            return held is not None
        held.results, held.heard = result["results"], time.monotonic()
        if "broken" in result:
            text = result["broken"]
            raise UserError(text) if result["by_user"] else RuntimeError(f"a worker failed:\n{text}")
        if "start_up" in result:
            self._deaths = 0
            work.holds(held.slot, Spending.START_UP, ago=result["start_up"])
        if held.order is None:
            return True
        if "start_up" in result:  # Tune did not keep the worker that was ready
            work.holds(held.slot, Spending.TRAINING, trials=(held.order.number,))
        if "report" not in result:
            return True
        return work.report(held.order.number, Report.model_validate_json(result["report"]))

    def end(self, work: Work, trial_id: str, result: dict[str, Any]) -> None:
        """A worker is ready, or an order came to its end or was stopped."""
        if trial_id not in self.held:
            return
        self.hear(work, trial_id, result)
        held = self.held.pop(trial_id)
        self._ready.add(held.slot)
        work.holds(held.slot, Spending.IDLE)
        if held.order is not None:
            outcome = Outcome(state="pruned")
            if "outcome" in result:
                outcome = Outcome.model_validate_json(result["outcome"])
            work.ended(held.order.number, outcome)
        self._open.insert(0, held.slot)

    def lose(self, work: Work, trial_id: str, words: str) -> None:
        """A worker died.

        Raises:
            RuntimeError: workers die one after the other before they are ready.
        """
        held = self.held.pop(trial_id, None)
        if held is None:
            return
        work.releases(held.slot)
        self._ready.discard(held.slot)
        self._open.append(held.slot)
        if held.order is None:
            self._deaths += 1
            if self._deaths >= DEATHS_AT_START:
                raise RuntimeError(f"Ray's workers die before they are ready ({words}); see the logs of Ray's workers")
            return
        silent = time.monotonic() - held.heard
        if held.order.silence is not None and silent >= held.order.silence:
            words = f"its worker was silent for {silent:.0f} s, so it was ended"
        self._enough = False  # the order may come back
        work.lost(held.order.number, words)

    def cut(self, work: Work) -> None:
        """Everything that runs ends here."""
        for held in self.held.values():
            if held.order is not None:
                work.ended(held.order.number, Outcome(state="pruned"))
        self.held.clear()
        self._open.clear()
        self._ready.clear()

    def give_back(self, work: Work) -> None:
        """No worker is held any more as far as the ledger goes."""
        for slot in self._all:
            work.releases(slot)
