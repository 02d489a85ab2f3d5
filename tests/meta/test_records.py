"""What is written into a table is what is read from it, and a file that cannot be used is one clear line."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from autodelta.errors import UserError
from autodelta.files import Lines
from autodelta.meta.columns import RECORDS
from autodelta.meta.records import ABOUT, JOURNAL, TASKS_FILE, About, read, write_about, write_shard, write_tasks
from tests.meta.tables import record, task_features
from tests.search.fakes import SHAPE

SHARD = "records-00000.parquet"


def test_records_and_tasks_come_back_as_they_were_written(tmp_path: Path) -> None:
    failed = record(rank=8, state="failed", reason="the loss is nan", curve=(), test=None, memory_bytes=None)
    records = (record(), record(rank=4), record(repeat=1), failed)
    about = About(
        backbone="tiny",
        backbone_sha256="0",
        dtype="fp32",
        shape=SHAPE,
        space="s",
        space_text="",
        seed=1,
        curve=(10, 20),
    )
    write_shard(tmp_path, records[:2])
    write_shard(tmp_path, records[2:])
    write_tasks(tmp_path, [task_features()])
    write_about(tmp_path, about)
    table = read(tmp_path)
    assert table.records == records
    assert table.tasks == {"one": task_features()}
    assert table.about == about
    assert table.by_key["one", records[1].candidate.key, 0] == records[1]
    assert [path.name for path in sorted(tmp_path.glob("*.parquet"))] == [SHARD, "records-00001.parquet", TASKS_FILE]


def test_a_record_that_is_in_a_shard_and_still_in_the_journal_counts_once(tmp_path: Path) -> None:
    write_shard(tmp_path, [record()])
    Lines(tmp_path / JOURNAL).append(*(found.model_dump(mode="json") for found in (record(), record(rank=4))))
    with (tmp_path / JOURNAL).open("a") as file:
        file.write('{"task": "torn')
    assert read(tmp_path).records == (record(), record(rank=4))


def test_a_table_of_another_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    write_shard(tmp_path, [record()])
    table = pq.read_table(tmp_path / SHARD)
    pq.write_table(table.replace_schema_metadata({"autodelta.records": "1"}), tmp_path / SHARD)
    before = (tmp_path / SHARD).read_bytes()
    _refused(tmp_path, "records of schema '1'; this version reads schema 2")
    assert (tmp_path / SHARD).read_bytes() == before


def _without_column(table: pa.Table) -> pa.Table:
    return table.drop_columns(["state"])


def _without_rows(table: pa.Table) -> pa.Table:
    return table.slice(0, 0)


def _without_metadata(table: pa.Table) -> pa.Table:
    return table.replace_schema_metadata(None)


def _of_other_type(table: pa.Table) -> pa.Table:
    at = table.schema.names.index("parameters")
    return table.set_column(at, "parameters", pa.array(["many"] * table.num_rows))


def _without_a_state(table: pa.Table) -> pa.Table:
    at = table.schema.names.index("state")
    return table.set_column(at, "state", pa.array(["unheard of"] * table.num_rows))


def _with_a_broken_candidate(table: pa.Table) -> pa.Table:
    at = table.schema.names.index("candidate")
    return table.set_column(at, "candidate", pa.array(['{"deltas"'] * table.num_rows))


def _without_versions(table: pa.Table) -> pa.Table:
    at = table.schema.names.index("versions")
    return table.set_column(at, "versions", pa.nulls(table.num_rows, pa.string()))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_without_column, "the column 'state' is missing"),
        (_without_rows, "no rows"),
        (_without_metadata, "holds no records of autodelta"),
        (_of_other_type, "the column 'parameters' holds string, not int64"),
        (_without_a_state, "row 0: state: Input should be 'complete'"),
        (_with_a_broken_candidate, "row 0: "),
        (_without_versions, "row 0: "),
    ],
)
def test_a_shard_that_lacks_something_is_one_line(
    tmp_path: Path, damage: Callable[[pa.Table], pa.Table], said: str
) -> None:
    write_shard(tmp_path, [record()])
    pq.write_table(damage(pq.read_table(tmp_path / SHARD)), tmp_path / SHARD)
    _refused(tmp_path, said)


@pytest.mark.parametrize("content", [b"", b"PAR1 and no more", b"\x00" * 4096])
def test_a_broken_file_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / SHARD).write_bytes(content)
    _refused(tmp_path, "no readable Parquet file")


def test_a_file_cut_off_in_the_middle_is_one_line(tmp_path: Path) -> None:
    write_shard(tmp_path, [record(rank=rank) for rank in range(1, 20)])
    whole = (tmp_path / SHARD).read_bytes()
    (tmp_path / SHARD).write_bytes(whole[: len(whole) // 2])
    _refused(tmp_path, "no readable Parquet file")


def test_no_record_at_all_is_one_line(tmp_path: Path) -> None:
    _refused(tmp_path, "it has no record")
    _refused(tmp_path / "nowhere", "there is no such folder")


def test_a_broken_description_of_the_table_is_one_line(tmp_path: Path) -> None:
    write_shard(tmp_path, [record()])
    (tmp_path / ABOUT).write_text('{"schema_version": 9}')
    _refused(tmp_path, "a table of schema 9")
    (tmp_path / ABOUT).write_text('{"schema_ver')
    _refused(tmp_path, ABOUT)


def test_a_whole_journal_line_that_is_no_record_is_one_line(tmp_path: Path) -> None:
    Lines(tmp_path / JOURNAL).append({"task": "one"})
    _refused(tmp_path, "journal.jsonl: record 0")


def test_the_file_says_its_schema_and_holds_the_columns_in_their_order(tmp_path: Path) -> None:
    schema = pq.read_schema(write_shard(tmp_path, [record()]))
    assert schema.names == RECORDS.names
    assert schema.metadata[b"autodelta.records"] == b"2"


def _refused(folder: Path, said: str) -> None:
    with pytest.raises(UserError) as caught:
        read(folder)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
