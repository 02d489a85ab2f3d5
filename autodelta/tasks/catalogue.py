"""Finding a task by its name, and listing all that there are, without reading any rows."""

import os
from pathlib import Path

from autodelta.errors import UserError, one_of
from autodelta.frozen import Frozen
from autodelta.tasks import demo, files, glue, superglue
from autodelta.tasks.columns import Columns
from autodelta.tasks.generated import PREFIX, load_demo
from autodelta.tasks.published import Published, load_columns, load_published
from autodelta.tasks.task import Task
from autodelta.tasks.view import default_metric

DATA = "AUTODELTA_DATA"
PUBLISHED: dict[str, Published] = {**glue.TASKS, **superglue.TASKS}
EXCLUDED = {**glue.EXCLUDED, **superglue.EXCLUDED}


class TaskInfo(Frozen):
    """A line of `autodelta tasks`."""

    name: str
    origin: str  # files, GLUE, SuperGLUE or demo
    kind: str = ""
    labels: tuple[str, ...] = ()
    metric: str = ""
    licence: str = ""
    train_rows: int | None = None  # None where nobody says before the rows are read
    problem: str = ""  # why it cannot be loaded


def load(name: str, *, data: str | os.PathLike[str] | None = None, columns: Columns | None = None) -> Task:
    """The task of that name with its rows.

    A name is, in this order: `demo/NAME` with parameters after a `?`; `hf:dataset/config`, with `columns`; a folder
    under `data` (or, without it, under the folder that AUTODELTA_DATA names); a task of GLUE or SuperGLUE, from a copy
    under `data`, the local cache of Hugging Face datasets, or the hub.

    Raises:
        UserError: there is no such task, or its rows cannot be had or are not as its card says.
    """
    if columns is not None and not name.startswith("hf:"):
        raise UserError(f"columns are for tasks of the form hf:dataset/config; {name!r} has its own")
    if name.startswith(PREFIX):
        return load_demo(name)
    folder = data_folder(data)
    local = files.folders(folder)
    if name.startswith("hf:"):
        return load_columns(name, columns, folder)
    if name in local:
        return files.load_folder(local[name])
    if name in PUBLISHED:
        return load_published(PUBLISHED[name], folder)
    if name in EXCLUDED:
        raise UserError(f"task {name!r} is left out: {EXCLUDED[name]}")
    if folder is not None and (folder / name).is_dir() and not (folder / name / files.CARD).exists():
        raise UserError(f"the folder {str(folder / name)!r} is no task yet: it lacks {files.CARD}")
    if os.path.isfile(os.path.join(name, files.CARD)):
        above, own = os.path.split(os.path.abspath(name))
        raise UserError(f"{name!r} is a task's folder; give the task's name, {own!r}, and {above!r} as the data folder")
    raise one_of("task", name, {*local, *PUBLISHED, *(PREFIX + found for found in demo.names())})


def available(data: str | os.PathLike[str] | None = None) -> list[TaskInfo]:
    """All tasks that have a name: those in files first (they go before published ones of the same name).

    Raises:
        UserError: the data folder does not exist, or is itself a task.
    """
    local = [_in_files(name, folder) for name, folder in files.folders(data_folder(data)).items()]
    taken = {info.name for info in local}
    published = [
        TaskInfo(
            name=name,
            origin="GLUE" if name in glue.TASKS else "SuperGLUE",
            kind=task.kind,
            labels=task.view.labels,
            metric=task.view.metric,
            licence=task.licence,
        )
        for name, task in PUBLISHED.items()
        if name not in taken
    ]
    return [*local, *published, *map(_demo, demo.names())]


def data_folder(data: str | os.PathLike[str] | None) -> Path | None:
    """The data folder: the one given, else the one that the environment names."""
    named = os.environ.get(DATA) or None
    chosen = named if data is None else data
    return None if chosen is None else Path(chosen)


def _in_files(name: str, folder: Path) -> TaskInfo:
    try:
        card, _ = files.read_view(folder)
    except UserError as error:
        return TaskInfo(name=name, origin="files", problem=str(error))
    return TaskInfo(
        name=name,
        origin="files",
        kind=card.kind,
        labels=card.labels,
        metric=card.metric or default_metric(card.labels),
        licence=card.licence,
        train_rows=card.rows.get("train"),
    )


def _demo(name: str) -> TaskInfo:
    info = demo.describe(name)
    return TaskInfo(
        name=PREFIX + name,
        origin="demo",
        kind=info.kind,
        labels=info.labels,
        metric=info.metric,
        licence="Apache-2.0",
        train_rows=info.train_size,
    )
