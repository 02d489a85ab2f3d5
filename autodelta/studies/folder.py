"""The folder that a table is collected into: every trial once, on disk when it is told, and one collector at a time.

A record is appended to the journal; a full journal becomes a shard, and is emptied after the shard is on disk. A record
that a crash left in both counts once.
"""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

from autodelta.errors import UserError
from autodelta.files import Lines, in_the_way, write_text
from autodelta.meta.card import card
from autodelta.meta.records import (
    ABOUT,
    JOURNAL,
    SHARDS,
    About,
    Key,
    Record,
    Table,
    TaskFeatures,
    read_about,
    read_journal,
    read_shards,
    read_tasks,
    write_about,
    write_shard,
    write_tasks,
)
from autodelta.search.lock import driving

SHARD = 64  # records
CARD = "README.md"


class Collection:
    """A table under way. Use as a context: inside it, no other collector may open the folder.

    Raises:
        UserError: another one has it open, its files are broken, or it holds trials of another backbone or space, or a
            README of somebody's, which the data card would replace.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = ExitStack()

    def __enter__(self) -> Self:
        check_place(self.path)
        with ExitStack() as stack:
            with _writing(self.path):
                self.path.mkdir(parents=True, exist_ok=True)
                stack.enter_context(driving(self.path, who="collection", what="table"))
            self._open()
            self._lock = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._lock.close()

    def _open(self) -> None:
        self.about = read_about(self.path)
        self.tasks: dict[str, TaskFeatures] = read_tasks(self.path)
        sharded = {record.key: record for record in read_shards(self.path)}
        fresh = {record.key: record for record in read_journal(self.path)}
        self._pending = [record for key, record in fresh.items() if key not in sharded]
        self.records: dict[Key, Record] = {**sharded, **fresh}

    def begin(self, about: About) -> None:
        """Says what all records have in common; once said, it stays.

        Raises:
            UserError: the folder holds records of something else, or of nobody knows what.
        """
        check(self.path, self.about, about, records=len(self.records))
        if self.about is None:
            with _writing(self.path):
                write_about(self.path, about)
            self.about = about

    def add(self, record: Record) -> None:
        """Keeps a record; it is on disk when this returns.

        Raises:
            ValueError: the trial is recorded already.
            UserError: the disk is full, or not to be written on.
        """
        if record.key in self.records:
            raise ValueError(f"the trial {record.key} is recorded already")
        with _writing(self.path):
            Lines(self.path / JOURNAL).append(record.model_dump(mode="json"))
            self.records[record.key] = record
            self._pending.append(record)
            if len(self._pending) >= SHARD:
                self.seal()

    def describe(self, tasks: Iterable[TaskFeatures]) -> None:
        """Keeps what is known of tasks."""
        self.tasks |= {task.task: task for task in tasks}
        if self.tasks:
            with _writing(self.path):
                write_tasks(self.path, self.tasks.values())

    def seal(self) -> None:
        """Puts the journal's records into a shard, and renews the data card."""
        with _writing(self.path):
            if self._pending:
                write_shard(self.path, self._pending)
            self._pending = []
            (self.path / JOURNAL).unlink(missing_ok=True)
            if self.records:
                write_text(self.path / CARD, card(self.table()))

    def table(self) -> Table:
        """The table as far as it is."""
        return Table(records=tuple(self.records.values()), tasks=self.tasks, about=self.about)


def check_place(path: Path) -> None:
    """Raises UserError where a folder cannot take a table, or has a README that the data card would replace."""
    nearest = in_the_way(path)
    if nearest is not None:
        raise UserError(f"no table can be written to {str(path)!r}: {nearest} is no folder that can be written")
    if (path / CARD).exists() and not any(path.glob(SHARDS)):  # the data card is written beside shards
        raise UserError(f"{str(path)!r} has a {CARD} that is no table's; collect into another folder")


def check(path: Path, said: About | None, about: About, *, records: int) -> None:
    """Raises UserError where a folder that says one thing of its records, or nothing, is to take those of another."""
    if said is None:
        if records:
            raise UserError(f"{path} holds trials, and no {ABOUT} that says of what; collect into another folder")
        return
    for name in About.model_fields:
        found, wanted = getattr(said, name), getattr(about, name)
        if found != wanted:
            shown = f"{found!r}, not {wanted!r}" if name not in ("shape", "space_text") else "another one"
            raise UserError(f"{path} holds trials of {name} {shown}; a table is of one: collect into another folder")


def recorded(path: Path) -> list[Record]:
    """The records in a folder, which may be under way, or not be there yet."""
    return list({record.key: record for record in (*read_shards(path), *read_journal(path))}.values())


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """A disk that cannot be written on is one line; what was there is still there."""
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write into {path}: {error.strerror or error}; what is recorded is kept") from error
