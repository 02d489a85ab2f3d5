"""Opening Hugging Face data sets: a local folder in the hub's layout, the local cache, or the hub itself."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from autodelta import hub
from autodelta.errors import UserError, one_line
from autodelta.tasks.files import CARD

BUILDERS = {"parquet": (".parquet",), "json": (".jsonl", ".json", ".jsonl.gz"), "csv": (".csv", ".csv.gz")}
EXPORT = "refs/convert/parquet"  # where the hub keeps a Parquet copy of data sets that are loading scripts
ABOUT = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json")  # which hold no rows
ON_DISK = "dataset_dict.json"  # of a folder that `DatasetDict.save_to_disk` wrote
AS_WRITTEN: dict[str, dict[str, Any]] = {"csv": {"keep_default_na": False}}  # None, null and NA are texts
Splits = Mapping[str, Any]  # split name -> datasets.Dataset
Reading = tuple[str, str | None]  # data set, config


def open_splits(task: str, readings: Sequence[Reading], data: Path | None) -> Splits:
    """The splits of a data set, from the first place that has one of its readings (`a/b` may be an owner's data set
    or a data set's config): under `data`, else in the cache or on the hub.

    Raises:
        UserError: none has it, or what is there cannot be read.
    """
    for dataset, config in readings:
        for root in _roots(dataset, config, data):
            found = _local(root, config)
            if found:
                return found
    return _remote(task, readings)


def _roots(dataset: str, config: str | None, data: Path | None) -> list[Path]:
    """Where a copy of a data set may lie: DIR/owner/name, DIR/name, or DIR is the copy: it has the name, or the config;
    else whatever lies in a folder of tasks would be taken for it."""
    if data is None:
        return []
    name = dataset.split("/")[-1]
    itself = [data] if config is not None or data.absolute().name == name else []
    return [root for root in (data / dataset, data / name, *itself) if root.is_dir()]


def _local(root: Path, config: str | None) -> Splits:
    folder = root / (config or "")
    if not folder.is_dir() or (folder / CARD).is_file():  # with a card it is a task of its own, under its own name
        return {}
    import datasets

    try:
        with _quiet():
            if (folder / ON_DISK).is_file():
                found: Splits = datasets.load_from_disk(str(folder))
                return found
            builder, files = _data_files(folder)
            options = AS_WRITTEN.get(builder, {})
            return {  # one by one: a test split without labels has other columns
                split: datasets.load_dataset(builder, data_files={split: paths}, split=split, **options)
                for split, paths in files.items()
            }
    except StopIteration:  # what the JSON reader of `datasets` raises
        raise UserError(f"{str(folder)!r} cannot be read as a data set: a file is empty") from None
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise UserError(f"{str(folder)!r} cannot be read as a data set: {_innermost(error)}") from None


def _data_files(folder: Path) -> tuple[str, dict[str, list[str]]]:
    """The files of the first kind that has some of train, else of the first that there is, by split: beside tables lie
    files of other kinds that hold no rows."""
    found = {builder: _files_by_split(folder, suffixes) for builder, suffixes in BUILDERS.items()}
    return max(found.items(), key=lambda one: ("train" in one[1], bool(one[1])))


def _files_by_split(folder: Path, suffixes: tuple[str, ...]) -> dict[str, list[str]]:
    """The data files by split: `train-00000-of-00002.parquet` (a hash may follow) or `train.csv`, also in
    `data/`; `train/0000.parquet`."""
    found: dict[str, list[str]] = {}
    for path in sorted([*folder.glob("*"), *folder.glob("*/*")]):
        suffix = next((suffix for suffix in suffixes if path.name.endswith(suffix)), None)
        if suffix is None or path.name in ABOUT or not path.is_file():
            continue
        stem = re.sub(r"-\d{5}-of-\d{5}(-[0-9a-f]+)?$", "", path.name.removesuffix(suffix))
        split = path.parent.name if path.parent != folder and stem.isdecimal() else stem
        if path.parent == folder or path.parent.name in ("data", split):
            found.setdefault(split, []).append(str(path))
    return found


def _remote(task: str, readings: Sequence[Reading]) -> Splits:
    import datasets

    online = hub.reachable()
    said = ""
    for dataset, config in readings:
        try:
            return _load(dataset, config) if online else _cached(dataset, config)
        except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
            said = _innermost(error)
    names = " or ".join(dataset + (f" ({config})" if config else "") for dataset, config in readings)
    if online:
        raise UserError(f"task {task!r}: the data set {names} cannot be loaded: {said}")
    dataset = readings[0][0]
    raise UserError(
        f"task {task!r} needs the data set {names}: there is no network and no local copy; where there is network run "
        f"`hf download {dataset} --repo-type dataset --local-dir DIR/{dataset.split('/')[-1]}` and give --data DIR, "
        "or take a task that needs no data, such as demo/entailment"
    )


def _load(dataset: str, config: str | None) -> Splits:
    import datasets

    try:
        found: Splits = datasets.load_dataset(dataset, config)
    except RuntimeError as error:
        if "scripts" not in str(error):
            raise
        found = datasets.load_dataset(dataset, revision=EXPORT, data_dir=config or "default")
    return found


def _cached(dataset: str, config: str | None) -> Splits:
    """What an earlier load left in the cache; without this switch `datasets` retries for half a minute first."""
    import datasets

    before = datasets.config.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = True
    try:
        with _quiet():
            found: Splits = datasets.load_dataset(dataset, config)
            return found
    finally:
        datasets.config.HF_HUB_OFFLINE = before


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars and no messages for what is on this disk already: of an error one line of ours is enough."""
    import datasets

    bars, level = datasets.are_progress_bars_disabled(), datasets.logging.get_verbosity()
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    try:
        yield
    finally:
        datasets.logging.set_verbosity(level)
        if not bars:
            datasets.enable_progress_bars()


def _innermost(error: Exception) -> str:
    """The first line of an error's innermost cause."""
    while isinstance(error.__cause__, Exception):
        error = error.__cause__
    return one_line(error)
