"""One driver a run: a lock on a file in the run's folder that ends with the process that holds it, however it ends."""

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from autodelta.errors import UserError

FILE = "driver.lock"


@contextmanager
def driving(folder: Path, *, who: str = "search", what: str = "run") -> Iterator[None]:
    """Holds the lock of a run, or of what else lies in a folder; ``who`` and ``what`` are for the words of a refusal.

    Raises:
        UserError: another driver holds it; names its host and process. Or nothing can be written or locked there.
    """
    try:
        file = _locked(folder / FILE)
    except BlockingIOError:
        raise UserError(f"another {who} works on {what} {folder.name!r}: {_holder(folder)}") from None
    except OSError as error:
        raise UserError(f"cannot lock the {what} {folder} for writing: {error.strerror}; nothing was changed") from None
    with file:
        yield


def _locked(path: Path) -> IO[str]:
    """The file, open and locked, with our name in it."""
    with ExitStack() as failed:
        file = failed.enter_context(path.open("a+", encoding="utf-8"))
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.truncate(0)
        file.write(json.dumps({"host": socket.gethostname(), "pid": os.getpid()}))
        file.flush()
        failed.pop_all()
    return file


def _holder(folder: Path) -> str:
    try:
        said = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return f"process {said['pid']} on {said['host']}"
    except (ValueError, KeyError, TypeError):
        return "it has only just started"
