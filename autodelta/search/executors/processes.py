"""Several workers on this machine, a process each. One that dies is replaced, and its trials go on elsewhere."""

import math
import os
import signal
import socket
import subprocess
import sys
import time
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Self

from autodelta.engine import devices
from autodelta.engine.assignment import WorkerSpec
from autodelta.search.executors.messages import Broken, Ended, Free, Reported
from autodelta.search.ledger import Spending
from autodelta.search.records import Outcome
from autodelta.search.run import LOG_FILE
from autodelta.search.work import FIRST_SILENCE, Work

TICK_SECONDS = 0.2
DEATHS_AT_START = 3  # in a row; then there is something wrong that no replacement mends
GOODBYE_SECONDS = 5.0


class _Child:
    """A worker's process, and what it is doing."""

    def __init__(self, slot: int, spec: WorkerSpec, log: Path) -> None:
        self.slot = slot
        self.orders: list[int] = []  # their numbers
        self.ready = False
        self.waits = False  # it is free, and there was nothing to do
        self.heard = time.monotonic()  # when it last said something
        self.hung = False
        ours, theirs = socket.socketpair()
        with log.open("ab") as output, theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "autodelta.search.executors.child", str(theirs.fileno()), str(os.getpid())],
                pass_fds=(theirs.fileno(),),
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        self.connection: Connection[Any, Any] = Connection(ours.detach())
        self.connection.send(spec)

    def end(self) -> None:
        """Hangs up, and ends the process if that is not enough."""
        self.connection.close()
        self.process.terminate()
        try:
            self.process.wait(GOODBYE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def last_words(self) -> str:
        """How the process died."""
        code = self.process.wait()
        if self.hung:
            return f"its worker was silent for {time.monotonic() - self.heard:.0f} s, so it was ended"
        if code >= 0:
            return f"its worker process died (exit code {code})"
        memory = ", perhaps for want of memory" if code == -signal.SIGKILL else ""
        return f"its worker process was ended by {signal.Signals(-code).name}{memory}"


def _environment() -> dict[str, str]:
    """One thread a process, as the processes share the cores; modules are found where this process finds them."""
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class Processes:
    """Trains as many trials at once as there are workers, or more where it pays that a worker trains several."""

    def __init__(self, spec: WorkerSpec, *, workers: int) -> None:
        self._spec = spec
        self._workers = workers
        self._children: dict[int, _Child] = {}
        self._deaths = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for child in self._children.values():
            child.end()
        self._children.clear()

    def run(self, work: Work) -> None:
        """Does what there is to do, until there is no more; the last process is kept for what comes after."""
        kept = list(self._children.values())
        for child in kept:
            self._give_work(work, child)
        if not kept or any(child.orders for child in kept):  # else there is nothing to do for others either
            for slot in set(range(self._workers)) - self._children.keys():
                self._start(work, slot)
        while not all(child.waits for child in self._children.values()):
            self._listen(work)
            self._end_silent(work)
            if work.overdue:
                self._end_overdue(work)
        for child in self._children.values():
            work.releases(child.slot)

    def _start(self, work: Work, slot: int) -> None:
        assert work.folder is not None
        work.holds(slot, Spending.START_UP)
        spec = self._spec.model_copy(update={"device": devices.own(self._spec.device, slot)})
        self._children[slot] = _Child(slot, spec, work.folder / LOG_FILE)

    def _listen(self, work: Work) -> None:
        by_connection = {child.connection: child for child in self._children.values()}
        for connection in wait(list(by_connection), TICK_SECONDS):
            child = by_connection[connection]  # type: ignore[index]
            try:
                message = child.connection.recv()
            except (EOFError, OSError):
                self._replace(work, child)
            else:
                child.heard = time.monotonic()
                self._answer(work, child, message)
        work.tick()

    def _answer(self, work: Work, child: _Child, message: Any) -> None:
        if isinstance(message, Reported):
            self._send(child, work.report(message.number, message.report))
        elif isinstance(message, Ended):
            child.orders.remove(message.number)
            work.holds(child.slot, Spending.IDLE)
            work.ended(message.number, message.outcome)
            self._hold(work, child)
        elif isinstance(message, Free):
            child.ready, self._deaths = True, 0
            self._give_work(work, child)
        else:
            raise _trouble(message)

    def _give_work(self, work: Work, child: _Child) -> None:
        """Answers a worker that is free, unless it is at nothing and there is nothing to do: then it waits."""
        work.holds(child.slot, Spending.IDLE)
        order = work.next(beside=len(child.orders), room=True)
        child.waits = order is None and not child.orders
        if order is not None:
            child.orders.append(order.number)
            child.heard = time.monotonic()
        if not child.waits:
            self._hold(work, child)
            self._send(child, order)
        elif len(self._children) > 1:
            self._release(work, child)

    def _hold(self, work: Work, child: _Child) -> None:
        if child.orders:
            work.holds(child.slot, Spending.TRAINING, trials=child.orders)

    def _release(self, work: Work, child: _Child) -> None:
        work.releases(child.slot)
        del self._children[child.slot]
        child.end()

    def _send(self, child: _Child, message: Any) -> None:
        try:
            child.connection.send(message)
        except OSError:
            return  # it died; the next look at its connection finds that out

    def _replace(self, work: Work, child: _Child) -> None:
        """The process is gone: its trial goes on elsewhere or has failed, and another process takes its place."""
        words = child.last_words()
        child.connection.close()
        if not child.ready:
            self._deaths += 1
            if self._deaths >= DEATHS_AT_START:
                raise RuntimeError(f"worker processes die before they are ready ({words}); see the run's {LOG_FILE}")
        for number in child.orders:
            work.lost(number, words)
        self._start(work, child.slot)

    def _end_silent(self, work: Work) -> None:
        """Ends workers that have been silent for far longer than their trial's own speed explains, or than any backbone
        takes to load."""
        for child in self._children.values():
            patience = [work.silence(number) for number in child.orders] if child.ready else [FIRST_SILENCE]
            if time.monotonic() - child.heard > max(patience, default=math.inf):
                child.hung = True
                child.process.kill()

    def _end_overdue(self, work: Work) -> None:
        for child in list(self._children.values()):
            child.end()
            work.releases(child.slot)
            for number in child.orders:
                work.ended(number, Outcome(state="pruned"))
        self._children.clear()


def _trouble(message: Any) -> Exception:
    """What a worker's complaint means to the parent."""
    if isinstance(message, Broken):
        return message.error()
    return RuntimeError(f"a worker said something unexpected: {message!r}")
