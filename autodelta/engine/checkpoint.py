"""The file that a trial goes on from: its tensors in safetensors, and JSON that says whose they are and how far it got.

What is in it and what is not: docs/decisions/0011-checkpoints-and-micro-batches.md.
"""

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from autodelta.engine.failures import BrokenCheckpoint
from autodelta.engine.report import Report
from autodelta.errors import UserError, one_line
from autodelta.files import write_whole
from autodelta.frozen import Frozen

SCHEMA = 1
KEY = "autodelta.checkpoint"


class Origin(Frozen):
    """Which trial a checkpoint is of. One of another trial is refused."""

    candidate: str  # its key
    seed: int
    backbone: str  # sha256 of its weights
    dtype: str
    data: str  # hash of the encoded rows


class Progress(Frozen):
    """How far a trial got."""

    step: int
    phase: int  # of a sequence
    micro_batch: int
    scored_rows: int  # rows at once in an evaluation
    measured_tokens: int  # of the largest pass of which the memory is known
    reports: tuple[Report, ...]


@dataclass(frozen=True)
class Checkpoint:
    """A trial between two reports: ``weights.<name>`` and ``optimiser.<name>.<moment>`` are its tensors."""

    origin: Origin
    progress: Progress
    tensors: Mapping[str, Tensor]


def write(path: Path, checkpoint: Checkpoint) -> None:
    """Writes the whole file, or none.

    Raises:
        OSError: the disk is full, or the folder cannot be written to.
    """
    tensors = dict(checkpoint.tensors)
    said = {
        "schema": SCHEMA,
        "origin": checkpoint.origin.model_dump(),
        "progress": checkpoint.progress.model_dump(),
        "checksum": _checksum(tensors),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        write_whole(path, lambda temporary: save_file(tensors, temporary, metadata={KEY: json.dumps(said)}))
    except SafetensorError as error:
        raise OSError(f"checkpoint {str(path)!r} cannot be written: {error}") from error


def read(path: Path, origin: Origin) -> Checkpoint:
    """The checkpoint in a file, which must be of that trial.

    Raises:
        BrokenCheckpoint: the file is missing, torn, damaged, or no checkpoint.
        UserError: it is of another trial, or of a newer AutoDelta.
    """
    said, tensors = _contents(path)
    if isinstance(said.get("schema"), int) and said["schema"] > SCHEMA:
        raise UserError(
            f"checkpoint {str(path)!r} has the schema {said['schema']}, of a newer AutoDelta; this one reads {SCHEMA}"
        )
    try:
        found = Origin.model_validate(said["origin"])
        progress = Progress.model_validate(said["progress"])
        whole = said["checksum"] == _checksum(tensors)
    except (KeyError, ValidationError) as error:
        raise BrokenCheckpoint(f"{str(path)!r} is no checkpoint of a trial") from error
    if not whole:
        raise BrokenCheckpoint(f"checkpoint {str(path)!r} is damaged: its tensors are not those that were saved")
    for field, own in origin:
        if getattr(found, field) != own:
            raise UserError(f"checkpoint {str(path)!r} is of another trial: {field} {getattr(found, field)}, not {own}")
    return Checkpoint(found, progress, tensors)


def _contents(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What the file says, and copies of its tensors: in the file they lie at odd addresses, where sums round anew."""
    try:
        with safe_open(path, framework="pt") as file:
            said = json.loads((file.metadata() or {}).get(KEY, "null"))
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, ValueError) as error:
        raise BrokenCheckpoint(f"{str(path)!r} is no readable checkpoint: {one_line(error)}") from error
    if not isinstance(said, dict):
        raise BrokenCheckpoint(f"{str(path)!r} is no checkpoint of a trial")
    return said, tensors


def _checksum(tensors: Mapping[str, Tensor]) -> int:
    """CRC-32 over all tensors in the order of their names."""
    found = 0
    for _, tensor in sorted(tensors.items()):
        found = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, found)
    return found
