"""Worker processes that take one job at a time each. One that dies takes its job with it, and is replaced.

Each is a process pool of one, so that it is known whose job died, and a job goes to the process that holds its task.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ProcessPoolExecutor, wait
from multiprocessing.connection import Connection
from typing import Any, NamedTuple, Self

LOOK_SECONDS = 1.0  # between two looks at the clock while nothing ends
DEATHS = 10  # of processes in a row, without a job done between them: then no replacement mends it


class Call(NamedTuple):
    """A function, and what it is to be given; both must be picklable."""

    function: Callable[[Any], Any]
    argument: Any


class Died(NamedTuple):
    """What a job comes to when its process ended under it."""

    reason: str


class Pool:
    """So many workers. Use as a context: leaving it ends them, whatever they are at.

    ``start`` makes one worker and is given the end of a pipe: when the other end is closed, the worker must end. (An
    event of ``multiprocessing`` would wait for ever for a process that died while it listened.)
    """

    def __init__(self, workers: int, start: Callable[[Connection], Executor] | None = None) -> None:
        self._start = start or process
        self._lifeline, self._end = multiprocessing.Pipe(duplex=False)
        self._workers: list[Executor | None] = [None] * workers

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._end.close()
        self._lifeline.close()
        for worker in self._workers:
            if worker is not None:
                worker.shutdown(wait=False, cancel_futures=True)

    def run(
        self,
        next_call: Callable[[int], Call | None],
        hear: Callable[[Any, Any], None],
        tick: Callable[[], None] = lambda: None,
    ) -> None:
        """Gives out calls until there are no more and all have ended.

        Args:
            next_call: what a worker, by its number, is to do next; None: nothing now.
            hear: is told the argument of a call that ended, and what it returned, or ``Died``.
            tick: is called about every second.

        Raises:
            RuntimeError: processes die again and again.
            Exception: whatever a call raises.
        """
        running: dict[Future[Any], tuple[int, Call]] = {}
        deaths = 0
        while True:
            busy = {number for number, _ in running.values()}
            for number in range(len(self._workers)):
                call = next_call(number) if number not in busy else None
                if call is not None:
                    running[self._submit(number, call)] = number, call
            if not running:
                return
            for future in wait(running, LOOK_SECONDS, FIRST_COMPLETED).done:
                number, call = running.pop(future)
                try:
                    result = future.result()
                    deaths = 0
                except BrokenExecutor as error:
                    deaths += 1
                    self._workers[number] = None
                    if deaths >= DEATHS:
                        raise RuntimeError(f"worker processes die again and again: {error}") from error
                    result = Died("its worker process died, perhaps for want of memory")
                hear(call.argument, result)
            tick()

    def _submit(self, number: int, call: Call) -> Future[Any]:
        worker = self._workers[number]
        if worker is None:
            worker = self._workers[number] = self._start(self._lifeline)
        try:
            return worker.submit(call.function, call.argument)
        except BrokenExecutor as error:  # it died between two jobs: the call counts as lost, and is asked for again
            lost: Future[Any] = Future()
            lost.set_exception(error)
            return lost


def process(lifeline: Connection) -> Executor:
    """A worker in a fresh process of its own."""
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(1, mp_context=context, initializer=_guard, initargs=(lifeline,))


def _guard(lifeline: Connection) -> None:
    """Ctrl-C is the parent's to decide on; when the parent is gone, or hangs up, the process ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_watch, args=(lifeline,), daemon=True).start()


def _watch(lifeline: Connection) -> None:
    with contextlib.suppress(EOFError, OSError):
        lifeline.recv_bytes()  # nothing is ever sent: it ends when the last holder of the other end does
    os._exit(1)
