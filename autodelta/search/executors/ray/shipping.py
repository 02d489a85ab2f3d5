"""Folders that a node does not see: fetched from the driver's node once, into a cache that the node's actors share.

A task's folder and a backbone's are looked for on the node first. Only where one is missing, its files pass through the
object store, and lie in the node's cache from then on, under the hash of what is in them. Trials carry none of it.
"""

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from autodelta.engine.assignment import WorkerSpec
from autodelta.errors import UserError
from autodelta.files import cache_folder

CHUNK = 1 << 20

Files = Mapping[str, bytes]  # by path inside the folder


@dataclass(frozen=True)
class Shipment:
    """A folder on the driver's node: what it holds, and where it can be had."""

    folder: Path
    sha256: str
    node: str  # Ray's id of a node that sees it


def shipments(spec: WorkerSpec, node: str) -> tuple[Shipment, ...]:
    """The folders that a worker opens: the task's and the backbone's, where they are folders of their own."""
    task = spec.data / spec.task if spec.data is not None and Path(spec.task).name == spec.task else None
    folders = [path for path in (task, Path(spec.backbone)) if path is not None and path.is_dir()]
    return tuple(Shipment(path.absolute(), folder_sha256(path), node) for path in folders)


def placed(
    spec: WorkerSpec, sent: tuple[Shipment, ...], fetch: Callable[[Shipment], Files] | None = None
) -> WorkerSpec:
    """The spec with its folders where this node has them: where they were, or in the node's cache."""
    changes: dict[str, object] = {}
    for shipment in sent:
        if shipment.folder.is_dir():
            continue
        here = kept(shipment, fetch or _fetched)
        if str(shipment.folder) == str(Path(spec.backbone).absolute()):
            changes["backbone"] = str(here)
        else:
            changes["data"] = here.parent
    return spec.model_copy(update=changes)


def kept(shipment: Shipment, fetch: Callable[[Shipment], Files]) -> Path:
    """The folder in this node's cache, fetched if it is not there yet.

    Raises:
        UserError: what came is not what was sent.
    """
    here = cache_folder() / shipment.sha256 / shipment.folder.name
    if here.is_dir():
        return here
    here.parent.mkdir(parents=True, exist_ok=True)
    filling = Path(tempfile.mkdtemp(dir=here.parent))
    try:
        for name, content in fetch(shipment).items():
            (filling / name).parent.mkdir(parents=True, exist_ok=True)
            (filling / name).write_bytes(content)
        if folder_sha256(filling) != shipment.sha256:
            raise UserError(f"the folder {shipment.folder} changed while it was sent to a node; search again")
        try:
            filling.rename(here)
        except OSError:
            if not here.is_dir():  # not another actor of this node that was faster
                raise
    finally:
        shutil.rmtree(filling, ignore_errors=True)
    return here


def folder_sha256(folder: Path) -> str:
    """The hash of a folder's files and their names."""
    digest = hashlib.sha256()
    for path in _files(folder):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
    return digest.hexdigest()


def contents(folder: Path) -> Files:
    """The files of a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in _files(folder)}


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _fetched(shipment: Shipment) -> Files:
    """The files, read by a task on the node that sees them; they come by way of the object store."""
    there = NodeAffinitySchedulingStrategy(shipment.node, soft=False)
    read = ray.remote(contents).options(num_cpus=0, scheduling_strategy=there)
    return ray.get(read.remote(shipment.folder))
