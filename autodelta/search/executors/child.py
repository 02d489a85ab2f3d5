"""What runs in each process of the `processes` executor: one worker, told by its parent over a socket.

The parent starts it as ``python -m autodelta.search.executors.child <fd> <pid>``, with its own pid, and not through
``multiprocessing``, so that a script that calls the search needs no ``if __name__ == "__main__"``.
"""

import os
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection

from autodelta.engine.report import Report
from autodelta.search.attempt import KeptWorker, Order
from autodelta.search.executors.messages import Broken, Ended, Free, Reported
from autodelta.search.records import Outcome

LOOK_SECONDS = 1.0  # between looks whether the parent is there


def main(descriptor: int, parent: int) -> None:
    """Serves orders until the parent hangs up, or is no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    connection = Connection(descriptor)
    try:
        _serve(connection)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        os._exit(0)  # the parent is gone


def _end_with(parent: int) -> None:
    """Ends this process soon after its parent, also in the middle of a training: whoever takes the search up needs the
    device, and nobody books what is spent here."""
    while os.getppid() == parent:
        time.sleep(LOOK_SECONDS)
    os._exit(0)


def _serve(connection: "Connection") -> None:
    try:
        worker = KeptWorker(connection.recv())
        worker.open()
        worker.serve(_Parent(connection))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        raise
    except Exception as error:
        connection.send(Broken.of(error))


class _Parent:
    """Who gives orders from the other end of the socket."""

    def __init__(self, connection: "Connection") -> None:
        self._connection = connection

    def next(self, *, beside: int, room: bool) -> Order | None:
        """An order; a worker that is at none waits until there is one, or the parent hangs up."""
        if not room:
            return None
        self._connection.send(Free())
        order: Order | None = self._connection.recv()
        return order

    def report(self, number: int, report: Report) -> bool:
        self._connection.send(Reported(number=number, report=report))
        return bool(self._connection.recv())

    def ended(self, number: int, outcome: Outcome) -> None:
        self._connection.send(Ended(number=number, outcome=outcome))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
