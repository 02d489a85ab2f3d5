"""Reading tables: JSON lines, CSV and Parquet files, row by row, each with the place where it stands; and writing."""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from autodelta.errors import UserError, one_line

Record = dict[str, Any]
Placed = tuple[str, Record]  # (file and line, row)
LONGEST_FIELD = 2**31 - 1  # characters of a CSV field: the csv module stops at 131,072, which long documents have


def records(path: Path) -> Iterator[Placed]:
    """Every row of a file with its place, as `rte/train.jsonl:7`, for messages.

    Raises:
        UserError: the file cannot be read, or a line is no row.
    """
    try:
        yield from READERS[table_suffix(path)](path)
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise UserError(f"{_shown(path)} cannot be read: {reason}") from None


def table_suffix(path: Path) -> str:
    """The part of a file's name that says how to read it: `.jsonl.gz` for train.jsonl.gz."""
    return next((suffix for suffix in READERS if path.name.endswith(suffix)), "")


def find_table(folder: Path, split: str) -> Path | None:
    """The file of a split in a folder; None where there is none.

    Raises:
        UserError: there are two.
    """
    found = [folder / f"{split}{suffix}" for suffix in READERS if (folder / f"{split}{suffix}").is_file()]
    if len(found) > 1:
        raise UserError(f"{_shown(found[0])} and {found[1].name} both hold {split}; keep one of them")
    return found[0] if found else None


def first_line(error: Exception) -> str:
    """What an error says, up to the advice for programmers."""
    return one_line(error).partition(";")[0]


def _shown(path: Path) -> str:
    return str(Path(path.parent.name, path.name))


def _open(path: Path) -> IO[str]:
    opener = gzip.open if path.suffix == ".gz" else open
    return opener(path, "rt", encoding="utf-8-sig", newline="")


def _json_lines(path: Path) -> Iterator[Placed]:
    with _open(path) as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            where = f"{_shown(path)}:{number}"
            try:
                row = json.loads(line.rstrip())
            except json.JSONDecodeError as error:
                raise UserError(f"{where}: not JSON: {error.msg} at column {error.colno}") from None
            except (ValueError, RecursionError) as error:  # a number of too many digits, brackets too deep
                raise UserError(f"{where}: cannot be read: {first_line(error)}") from None
            if not isinstance(row, dict):
                raise UserError(f"{where}: a line must be one JSON object, not {line.strip()[:40]!r}")
            yield where, row


def _csv(path: Path) -> Iterator[Placed]:
    delimiter = "\t" if path.name.endswith((".tsv", ".tsv.gz")) else ","
    with _open(path) as lines:
        reader = csv.DictReader(lines, delimiter=delimiter, strict=True)
        csv.field_size_limit(LONGEST_FIELD)
        try:
            _check_header(path, reader.fieldnames or ())
            for row in reader:
                where = f"{_shown(path)}:{reader.line_num}"
                if None in row:
                    raise UserError(f"{where}: more values than the header's {len(reader.fieldnames or ())} columns")
                yield where, row
        except csv.Error as error:
            raise UserError(
                f"{_shown(path)}:{reader.line_num + 1}: not CSV: {error}; a quote inside a field is written twice"
            ) from None


def _check_header(path: Path, columns: Sequence[str]) -> None:
    """Of two columns of one name only the last would be read; nameless ones, as of a row number, are nobody's."""
    twice = next((name for name in columns if name and columns.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"{_shown(path)}:1: the column {twice!r} stands twice in the header; rename or drop one")


def _parquet(path: Path) -> Iterator[Placed]:
    from pyarrow import ArrowInvalid, parquet

    try:
        rows = parquet.read_table(path).to_pylist()
    except ArrowInvalid as error:
        raise UserError(f"{_shown(path)} is not Parquet: {one_line(error)}") from None
    for number, row in enumerate(rows, 1):
        yield f"{_shown(path)}, row {number}", row


def check_written(path: Path) -> None:
    """Raises UserError where a file's name promises what is not written: compressed, Parquet, or one JSON document."""
    if path.suffix in (".gz", ".parquet", ".json"):
        raise UserError(f"rows are written as .jsonl, .csv or .tsv, not to {path.name!r}")


def text_of(rows: Sequence[Record], path: Path) -> str:
    """Rows of the same columns, one at least, as a file of that name holds them: CSV or TSV where it is called so, else
    JSON lines."""
    if path.suffix not in (".csv", ".tsv"):
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


READERS: dict[str, Callable[[Path], Iterator[Placed]]] = {
    ".jsonl": _json_lines,
    ".jsonl.gz": _json_lines,
    ".csv": _csv,
    ".csv.gz": _csv,
    ".tsv": _csv,
    ".tsv.gz": _csv,
    ".parquet": _parquet,
}
