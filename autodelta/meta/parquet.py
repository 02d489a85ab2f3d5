"""Rows of plain data in a Parquet file that names its kind and schema version; trouble with a file is one line."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from autodelta.errors import UserError
from autodelta.files import write_whole

PREFIX = "autodelta."


def write(path: Path, rows: Sequence[dict[str, Any]], schema: pa.Schema, *, kind: str, version: int) -> None:
    """Writes a whole file: it is either there with all its rows, or not there."""
    table = pa.Table.from_pylist(list(rows), schema=schema.with_metadata({PREFIX + kind: str(version)}))
    write_whole(path, lambda temporary: pq.write_table(table, temporary, compression="zstd"))


def load(path: Path, schema: pa.Schema, *, kind: str, version: int) -> list[dict[str, Any]]:
    """The rows of a file.

    Raises:
        UserError: it cannot be read, is of another kind or version, lacks a column, or has no rows.
    """
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(f"{path}: no readable Parquet file: {said[0][:200]}") from error
    _check(path, table, schema, kind=kind, version=version)
    rows: list[dict[str, Any]] = table.select(schema.names).to_pylist()
    return rows


def _check(path: Path, table: pa.Table, schema: pa.Schema, *, kind: str, version: int) -> None:
    found = (table.schema.metadata or {}).get((PREFIX + kind).encode())
    if found is None:
        raise UserError(f"{path}: holds no {kind} of autodelta (its metadata lacks {PREFIX + kind!r})")
    if found.decode() != str(version):
        raise UserError(f"{path}: {kind} of schema {found.decode()!r}; this version reads schema {version}")
    missing = [name for name in schema.names if name not in table.schema.names]
    if missing:
        raise UserError(f"{path}: the column {missing[0]!r} is missing; {kind} need: {', '.join(schema.names)}")
    for field in schema:
        if table.schema.field(field.name).type != field.type:
            other = table.schema.field(field.name).type
            raise UserError(f"{path}: the column {field.name!r} holds {other}, not {field.type}")
    if table.num_rows == 0:
        raise UserError(f"{path}: no rows; {kind} need at least one")
