"""What runs in each process of the `processes` executor: one worker, told by its parent over a socket.

The parent starts it as ``python -m autodelta.search.executors.child <fd>``, not through ``multiprocessing``, so that a
script that calls the search needs no ``if __name__ == "__main__"``.
"""

import os
import signal
import sys
import traceback
from multiprocessing.connection import Connection

from autodelta.engine.report import Report
from autodelta.errors import UserError
from autodelta.search.attempt import KeptWorker, drive
from autodelta.search.executors.messages import Broken, Ready


def main(descriptor: int) -> None:
    """Serves orders until the parent hangs up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    connection = Connection(descriptor)
    try:
        _serve(connection)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        os._exit(0)  # the parent is gone


def _serve(connection: "Connection") -> None:
    try:
        worker = KeptWorker(connection.recv())
        worker.open()
        connection.send(Ready())
        while True:
            order = connection.recv()
            connection.send(drive(worker.attempt(order), lambda report: _go_on(connection, report)))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        raise
    except Exception as error:
        connection.send(_broken(error))


def _go_on(connection: "Connection", report: Report) -> bool:
    connection.send(report)
    return bool(connection.recv())


def _broken(error: Exception) -> Broken:
    return Broken(text=str(error), traceback=traceback.format_exc(), by_user=isinstance(error, UserError))


if __name__ == "__main__":
    main(int(sys.argv[1]))
