"""The study's SQLite file: what is written of each trial, how it is opened, and when it reaches the disk.

The search works on a copy in memory, so that asking costs no query; this file gets every trial when it starts, at each
report and at its end, each in one transaction or in an order that a reader survives.
"""

import sqlite3
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import optuna
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from autodelta.errors import UserError, one_line
from autodelta.files import write_whole

FILE = "study.db"
NAME = "autodelta"
SIGN_OF_LIFE = "ledger.jsonl"  # written within a second of a search's begin, and after its study
BUSY_SECONDS = 60.0  # how long a reader or writer waits for the other to let go of the file


class Disk:
    """The trials of a run in its SQLite file. Only the driver writes."""

    def __init__(self, folder: Path, directions: list[StudyDirection]) -> None:
        self._folder = folder
        _refuse_lost(folder)
        if not (folder / FILE).exists() or not (folder / FILE).stat().st_size:
            write_whole(folder / FILE, partial(_make, directions))
        with _readable_or_told(folder):
            self._storage = writable(folder)
            study = optuna.create_study(
                study_name=NAME, storage=self._storage, directions=directions, load_if_exists=True
            )
            self._study_id = study._study_id
            _end_foreign(study)
            self.found = study.get_trials(deepcopy=False)
        self._ids = {trial.number: trial._trial_id for trial in self.found}

    def start(self, trial: FrozenTrial) -> None:
        """Writes a new trial, whole, in one transaction; one that was infeasible has ended."""
        identity = self._storage.create_new_trial(self._study_id, template_trial=trial)
        number = self._storage.get_trial_number_from_id(identity)
        if number != trial.number:
            raise UserError(
                f"another program writes to the study {self._folder / FILE}: expected trial {trial.number}, got "
                f"{number}; end it, and go on with --resume"
            )
        self._ids[number] = identity

    def value(self, number: int, step: int, value: float) -> None:
        """Writes the value of a report."""
        self._storage.set_trial_intermediate_value(self._ids[number], step, value)

    def attribute(self, number: int, key: str, value: Any) -> None:
        """Writes an attribute of a trial."""
        self._storage.set_trial_user_attr(self._ids[number], key, value)

    def end(self, trial: FrozenTrial) -> None:
        """Writes how a trial ended, the state last, and flushes it to disk."""
        identity = self._ids[trial.number]
        for key, value in trial.system_attrs.items():
            self._storage.set_trial_system_attr(identity, key, value)
        self._storage.set_trial_state_values(identity, trial.state, trial.values)
        sync(self._storage)

    def close(self) -> None:
        """Leaves one whole file behind, which can be read from a read-only place too."""
        self._storage.remove_session()
        self._storage.engine.dispose()
        with (
            suppress(sqlite3.OperationalError),  # locked: somebody reads; then the log stays beside the file
            closing(sqlite3.connect(self._folder / FILE, timeout=1.0)) as connection,
        ):
            connection.execute("PRAGMA journal_mode = DELETE")


def _make(directions: list[StudyDirection], path: Path) -> None:
    """A study without trials. It is made beside its place: a search that ends while its tables are made, or for want of
    room, leaves none that cannot be read."""
    storage = RDBStorage(f"sqlite:///{FILE}", engine_kwargs={"creator": partial(_connect_to_make, path)})
    optuna.create_study(study_name=NAME, storage=storage, directions=directions)
    storage.remove_session()
    storage.engine.dispose()


def _end_foreign(study: optuna.Study) -> None:
    """Trials that another program has put there, and that nobody trains, have failed: the search has no candidate for
    them, and their numbers are taken."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.WAITING, TrialState.RUNNING)):
        if "candidate" not in trial.user_attrs:
            study._storage.set_trial_user_attr(trial._trial_id, "reason", "put there by another program")
            for state in (TrialState.RUNNING, TrialState.FAIL):  # what has not begun cannot end
                study._storage.set_trial_state_values(trial._trial_id, state)


def writable(folder: Path) -> RDBStorage:
    """The storage of a run's study.

    With a write-ahead log a commit survives the death of the process at once, and that of the machine from the next
    ``sync`` on; a flush to disk at each commit would cost more than the rest.
    """
    return RDBStorage(f"sqlite:///{FILE}", engine_kwargs={"creator": partial(_connect, folder / FILE)})


def read(folder: Path) -> list[FrozenTrial]:
    """Every trial of a run's study, which may be in use; none of a search that has not begun.

    Raises:
        UserError: the file is damaged, empty, gone, or of another version of Optuna.
    """
    _refuse_lost(folder)
    if not (folder / FILE).exists():
        return []
    with quiet(), _readable_or_told(folder):
        opened = RDBStorage(
            f"sqlite:///{FILE}",
            engine_kwargs={"creator": partial(_connect_to_read, folder / FILE)},
            skip_table_creation=True,
        )
        try:
            return optuna.load_study(study_name=NAME, storage=opened).get_trials(deepcopy=False)
        except KeyError:
            return []  # a search killed before its study was made
        finally:
            opened.remove_session()
            opened.engine.dispose()


def sync(storage: RDBStorage) -> None:
    """Flushes all that was committed to disk."""
    with storage.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)")


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


def _refuse_lost(folder: Path) -> None:
    """SQLite takes an empty file for a new one, and a search without a study would begin anew, among the weights and
    the spending of the trials that are lost."""
    there = (folder / FILE).exists()
    if (folder / SIGN_OF_LIFE).exists() and not (there and (folder / FILE).stat().st_size):
        how = "is empty" if there else "is missing"
        raise UserError(f"the study {folder / FILE} {how}, though the search had begun; nothing was changed")


@contextmanager
def _readable_or_told(folder: Path) -> Iterator[None]:
    """A file that cannot be read is the user's to mend, and is left as it is."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error, StorageInternalError) as error:
        cause = one_line(getattr(error, "orig", None) or error.__cause__ or error)
        raise UserError(f"the study {folder / FILE} cannot be read: {cause}; nothing was changed") from error
    except RuntimeError as error:  # Optuna's word for a schema of another version
        raise UserError(f"the study {folder / FILE}: {one_line(error)}; nothing was changed") from error


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection


def _connect_to_make(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = MEMORY")  # no file beside it
    connection.execute("PRAGMA synchronous = OFF")  # the whole file is flushed at once
    return connection


def _connect_to_read(path: Path) -> sqlite3.Connection:
    location = f"file:{quote(str(path.resolve()))}?mode=ro"
    return sqlite3.connect(location, uri=True, timeout=BUSY_SECONDS, check_same_thread=False)
