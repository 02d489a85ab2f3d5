"""The study's SQLite file: how it is opened for writing and for reading, and when it reaches the disk."""

import sqlite3
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from urllib.parse import quote

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import RDBStorage

FILE = "study.db"
BUSY_SECONDS = 60.0  # how long a reader or writer waits for the other to let go of the file


def writable(folder: Path) -> RDBStorage:
    """The storage of a run's study, made if it is missing.

    Optuna commits some thirty times a trial. With a write-ahead log a commit survives the death of the process at once,
    and that of the machine from the next ``sync`` on; a flush to disk at each commit would cost 0.3 s a trial.
    """
    return RDBStorage(f"sqlite:///{FILE}", engine_kwargs={"creator": partial(_connect, folder / FILE)})


def readable(folder: Path) -> RDBStorage:
    """The storage of a run's study, which may be in use, for reading only."""
    return RDBStorage(
        f"sqlite:///{FILE}",
        engine_kwargs={"creator": partial(_connect_to_read, folder / FILE)},
        skip_table_creation=True,
    )


def sync(storage: RDBStorage) -> None:
    """Flushes all that was committed to disk."""
    with storage.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)")


def close(storage: RDBStorage, folder: Path) -> None:
    """Leaves one whole file behind, which can be read from a read-only place too."""
    storage.remove_session()
    storage.engine.dispose()
    with closing(sqlite3.connect(folder / FILE, timeout=1.0)) as connection, suppress(sqlite3.OperationalError):
        connection.execute("PRAGMA journal_mode = DELETE")  # locked: somebody reads; then the log stays beside the file


@contextmanager
def quiet() -> Iterator[None]:
    """Optuna logs nothing below an error, and warns of no experimental feature, while this is open."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(level)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection


def _connect_to_read(path: Path) -> sqlite3.Connection:
    location = f"file:{quote(str(path.resolve()))}?mode=ro"
    return sqlite3.connect(location, uri=True, timeout=BUSY_SECONDS, check_same_thread=False)
