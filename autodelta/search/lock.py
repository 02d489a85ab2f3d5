"""One driver a run: a lock on a file in the run's folder that ends with the process that holds it, however it ends."""

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from autodelta.errors import UserError

FILE = "driver.lock"


@contextmanager
def driving(folder: Path) -> Iterator[None]:
    """Holds the run's lock.

    Raises:
        UserError: another driver holds it; names its host and process.
    """
    with (folder / FILE).open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(f"another search works on run {folder.name!r}: {_holder(folder)}") from None
        file.truncate(0)
        file.write(json.dumps({"host": socket.gethostname(), "pid": os.getpid()}))
        file.flush()
        yield


def _holder(folder: Path) -> str:
    try:
        said = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return f"process {said['pid']} on {said['host']}"
    except (ValueError, KeyError, TypeError):
        return "it has only just started"
