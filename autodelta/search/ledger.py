"""The ledger of a run: device-seconds held by workers, and wall-clock, written down as they are spent.

A worker is held from the moment it is started until it is given back, and does one kind of thing at a time (several
trials in one pass are one thing), so the lines of the file add up to all the time held, idle time included. A killed
search loses at most the last second or two. What is spent while the search itself is busy, training, is booked by a
thread beside it (``meanwhile``).
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from autodelta.files import Lines

FLUSH_SECONDS = 1.0


class Spending(StrEnum):
    """What a worker does while it is held."""

    START_UP = "start-up"  # its process starts, the backbone is loaded
    TRAINING = "training"
    EVALUATION = "evaluation"  # of trials, on validation
    IDLE = "idle"
    CONFIRMATION = "confirmation"  # the best of them trained again, and scored on the test split


WALL = "wall"


@dataclass
class _Lease:
    kind: Spending
    trials: tuple[int, ...]  # that are trained at a time
    since: float


class Ledger:
    """Books what workers hold, and wall-clock ``since`` the search started.

    Times come from ``clock``, so that a simulation may bring its own; with no ``path`` nothing is written down.
    """

    def __init__(
        self, path: Path | None, *, clock: Callable[[], float] = time.monotonic, since: float | None = None
    ) -> None:
        self._lines = Lines(path) if path is not None else None
        self._clock = clock
        self._one = threading.RLock()  # thread at a time
        self._leases: dict[int, _Lease] = {}
        self._unwritten: Counter[tuple[str, int | None, tuple[int, ...]]] = Counter()
        self._totals = read(path) if path is not None else dict.fromkeys((*map(str, Spending), WALL), 0.0)
        self._wall_since = self._flushed = clock() if since is None else since

    def enter(self, worker: int, kind: Spending, *, trials: Collection[int] = (), ago: float = 0.0) -> None:
        """The worker is held, and does this from now on (or since ``ago`` seconds), for all these trials together."""
        with self._one:
            now = self._clock()
            since = now - ago
            lease = self._leases.get(worker)
            if lease is not None:
                since = min(max(since, lease.since), now)
                self._book(worker, lease, until=since)
            self._leases[worker] = _Lease(kind, tuple(trials), since)

    def move(self, trial: int, seconds: float, *, to: Spending) -> None:
        """So many of the seconds booked for a trial and those beside it, it alone spent on something else, as is known
        only afterwards."""
        with self._one:
            for worker, lease in self._leases.items():
                if trial in lease.trials and lease.kind is not to and seconds > 0:
                    self._book(worker, lease, until=self._clock())
                    self._add((lease.kind, worker, lease.trials), -seconds)
                    self._add((to, worker, (trial,)), seconds)

    def leave(self, worker: int) -> None:
        """The worker is given back."""
        with self._one:
            lease = self._leases.pop(worker, None)
            if lease is not None:
                self._book(worker, lease, until=self._clock())

    def tick(self, *, force: bool = False) -> None:
        """Books everything up to now; on disk at least once a second, or at once with ``force``."""
        with self._one:
            now = self._clock()
            for worker, lease in self._leases.items():
                self._book(worker, lease, until=now)
            self._add((WALL, None, ()), now - self._wall_since)
            self._wall_since = now
            if force or now - self._flushed >= FLUSH_SECONDS:
                self._write(now)

    @contextmanager
    def meanwhile(self) -> Iterator[None]:
        """Ticks while this is open, in a thread of its own: for whoever trains here, and ticks at reports alone."""
        over = threading.Event()

        def beat() -> None:
            while not over.wait(FLUSH_SECONDS / 2):
                with suppress(OSError):  # the search's own next tick says that the disk is full
                    self.tick()

        thread = threading.Thread(target=beat, name="ledger", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def close(self) -> None:
        """Gives back every worker and writes all down."""
        for worker in list(self._leases):
            self.leave(worker)
        self.tick(force=True)

    def by_kind(self) -> dict[str, float]:
        """Device-seconds by what they were spent on."""
        return {kind: self._totals[kind] for kind in Spending}

    @property
    def device_seconds(self) -> float:
        return sum(self.by_kind().values())

    @property
    def wall_seconds(self) -> float:
        return self._totals[WALL]

    def _book(self, worker: int, lease: _Lease, *, until: float) -> None:
        self._add((lease.kind, worker, lease.trials), until - lease.since)
        lease.since = until

    def _add(self, key: tuple[str, int | None, tuple[int, ...]], seconds: float) -> None:
        self._unwritten[key] += seconds  # type: ignore[assignment]
        self._totals[key[0]] += seconds

    def _write(self, now: float) -> None:
        at = round(time.time(), 3)
        # Taken away first: an interrupt in the middle may cost this second, and never books one twice.
        taken, self._unwritten = self._unwritten, Counter()
        rows = [
            {"at": at, "kind": str(kind), "worker": worker, "trials": trials, "seconds": round(seconds, 6)}
            for (kind, worker, trials), seconds in taken.items()
            if seconds
        ]
        if rows and self._lines is not None:
            try:
                self._lines.append(*({key: of for key, of in row.items() if of not in (None, ())} for row in rows))
            except OSError:
                self._unwritten.update(taken)  # a full disk may have room again
                raise
        self._flushed = now


def read(path: Path) -> dict[str, float]:
    """Seconds by kind (``Spending`` and wall-clock) that a ledger's file holds."""
    totals = {str(kind): 0.0 for kind in (*Spending, WALL)}
    for row in Lines(path).read():
        kind, seconds = row.get("kind"), row.get("seconds")
        if kind in totals and isinstance(seconds, int | float):
            totals[str(kind)] += seconds
    return totals
