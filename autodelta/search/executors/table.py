"""Recorded trials in place of real ones, in virtual time: the same session and study, thousands of searches a minute.

Nothing is trained and nothing waits. A worker's next report comes when the record says; the worker with the earliest
one is served first (of equals the first worker), and the clock of the search jumps there.
"""

import math
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Self

from autodelta.engine.report import Report
from autodelta.errors import UserError
from autodelta.meta.records import Record
from autodelta.search.attempt import Order
from autodelta.search.ledger import Spending
from autodelta.search.records import Outcome
from autodelta.search.work import Work


class VirtualClock:
    """Seconds that pass only when somebody sets them."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class Replayed:
    """A trial as it went: what it reported, how it ended, and after how many device-seconds."""

    reports: tuple[Report, ...]
    outcome: Outcome
    seconds: float

    def has(self, step: int) -> bool:
        """Whether the trial was evaluated at a step, or did not come so far."""
        return not self.reports or step > self.reports[-1].step or any(report.step == step for report in self.reports)

    def at(self, steps: tuple[int, ...]) -> tuple[Report, ...]:
        """The reports at these steps, as far as the trial came, and its last one.

        Raises:
            UserError: the trial was not evaluated at one of the steps that it passed.
        """
        missing = [step for step in steps if not self.has(step)]
        if missing:
            known = ", ".join(str(report.step) for report in self.reports)
            raise UserError(
                f"a recorded trial lacks a score at step {min(missing)}, a rung of the space; it has: {known}. "
                "Take a table with more points of a curve, or no pruner (none)"
            )
        return tuple(report for report in self.reports if report.step in steps or report.done)


def replayed(record: Record) -> Replayed:
    """What a record tells of its trial. Time spent on evaluations is spread evenly over them."""
    last = record.candidate.training.steps
    reports = tuple(
        Report(
            step=point.step,
            score=point.score,
            log_loss=point.log_loss,
            train_loss=point.train_loss,
            device_seconds=point.device_seconds,
            evaluation_seconds=record.evaluation_seconds * number / len(record.curve),
            memory_bytes=record.memory_bytes or 0,
            done=record.state == "complete" and point.step == last,
        )
        for number, point in enumerate(record.curve, start=1)
    )
    spent = max(record.device_seconds, reports[-1].device_seconds if reports else 0.0)
    return Replayed(reports, Outcome(state=record.state, reason=record.reason), spent)


class Table:
    """Replays trials by their candidates' keys, on so many workers.

    ``clock`` must be that of the search's accounts and ledger. A trial that goes on costs only what is new.
    """

    def __init__(self, trials: Mapping[str, Replayed], clock: VirtualClock, *, workers: int = 1) -> None:
        self.steps = 0  # trained so far, by all workers
        self._trials = trials
        self._clock = clock
        self._workers = workers
        # The last report of each candidate: its checkpoint. One that is ordered again goes on from there.
        self._came_to: dict[str, Report] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None: ...

    def run(self, work: Work) -> None:
        """Runs trials until there are no more."""
        at_work = [self._serve(work, worker) for worker in range(self._workers)]
        queue = [(self._clock.now, worker) for worker in range(self._workers)]
        heapify(queue)
        while queue:
            self._clock.now, worker = heappop(queue)
            seconds = next(at_work[worker], None)
            if seconds is not None:
                heappush(queue, (self._clock.now + seconds, worker))

    def _serve(self, work: Work, worker: int) -> Iterator[float]:
        """What one worker does; it yields the seconds until it is to be served again."""
        work.holds(worker, Spending.IDLE)
        while (order := work.next()) is not None:
            work.holds(worker, Spending.TRAINING, trials=(order.number,))
            outcome = yield from self._train(work, order)
            work.holds(worker, Spending.IDLE)
            work.ended(order.number, outcome)
        work.releases(worker)

    def _train(self, work: Work, order: Order) -> Generator[float, None, Outcome]:
        """One trial: yields the seconds until its next report, and returns how it ended."""
        key = order.assignment.candidate.key
        trial = self._trials[key]
        held = self._came_to.get(key)
        step, spent = (held.step, held.device_seconds) if held is not None else (0, 0.0)
        limit = math.inf if order.assignment.seconds is None else spent + order.assignment.seconds
        for report in trial.at(order.assignment.report_at):
            if report.step < step:
                continue
            if report.device_seconds > limit:
                share = (limit - spent) / (report.device_seconds - spent)
                self.steps += int(share * (report.step - step))
                yield limit - spent
                return Outcome(state="pruned")
            if report.step > step:
                yield report.device_seconds - spent
                self.steps += report.step - step
                step, spent = report.step, report.device_seconds
                self._came_to[key] = report
            go_on = work.report(order.number, report)
            if report.done:
                return Outcome(state="complete")
            if not go_on:
                return Outcome(state="pruned")
        yield min(trial.seconds, limit) - spent
        return trial.outcome if trial.seconds <= limit else Outcome(state="pruned")
