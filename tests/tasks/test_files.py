"""Tasks in folders of files."""

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from autodelta.errors import UserError
from autodelta.tasks import SPLITS, View, load
from autodelta.tasks.files import inputs_of
from autodelta.tasks.tables import records

CARD: dict[str, Any] = {"name": "tiny", "labels": ["good", "very_bad"], "inputs": ["text"], "metric": "macro_f1"}
Table = list[dict[str, Any]]
ROWS = {
    split: [{"text": f"{split} {number}", "label": CARD["labels"][number % 2]} for number in range(size)]
    for split, size in (("train", 40), ("validation", 6), ("test", 8))
}


def _write(folder: Path, card: dict[str, Any], rows: dict[str, Table]) -> Path:
    folder.mkdir()
    (folder / "task.json").write_text(json.dumps(card))
    for split, table in rows.items():
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table))
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    _write(tmp_path / "tiny", CARD, ROWS)
    return tmp_path


def _refuses(data: Path, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load("tiny", data=data)
    assert "\n" not in str(caught.value)


def test_a_folder_with_a_card_is_a_task(data: Path) -> None:
    task = load("tiny", data=data)
    assert {split: len(task.examples(split)) for split in SPLITS} == {"train": 40, "validation": 6, "test": 8}
    assert task.examples("test")[1] == ("tiny text: test 1", "very_bad", "very bad")
    assert (task.metric, task.notes) == ("macro_f1", ())


def test_the_environment_may_name_the_data_folder(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTODELTA_DATA", str(data))
    assert load("tiny").name == "tiny"


def _as_gzip(path: Path, table: Table) -> None:
    with gzip.open(path, "wt") as out:
        out.writelines(json.dumps(row) + "\n" for row in table)


def _as_csv(path: Path, table: Table) -> None:
    with path.open("w", encoding="utf-8-sig", newline="") as out:
        writer = csv.DictWriter(out, table[0].keys(), delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writeheader()
        writer.writerows(table)


def _as_parquet(path: Path, table: Table) -> None:
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(table), path)


@pytest.mark.parametrize(
    ("suffix", "write"),
    [(".jsonl.gz", _as_gzip), (".csv", _as_csv), (".tsv", _as_csv), (".parquet", _as_parquet)],
)
def test_other_tables_hold_the_same_task(data: Path, tmp_path: Path, suffix: str, write: Any) -> None:
    other = _write(tmp_path / "other", CARD, {})
    for split, table in ROWS.items():
        write(other / f"{split}{suffix}", table)
    assert load("other", data=data).rows == load("tiny", data=data).rows


def test_only_the_end_of_a_files_name_says_how_it_is_written(tmp_path: Path) -> None:
    _as_csv(tmp_path / "rows.tsv.csv", ROWS["test"])
    assert [row["text"] for _, row in records(tmp_path / "rows.tsv.csv")] == [row["text"] for row in ROWS["test"]]


def test_a_card_may_say_template_and_words(tmp_path: Path) -> None:
    _write(tmp_path / "tiny", CARD | {"template": "how is {text}?", "words": {"good": "+", "very_bad": "-"}}, ROWS)
    assert load("tiny", data=tmp_path).examples("test")[0] == ("how is test 0?", "good", "+")


def test_labels_may_be_written_as_booleans_and_numbers(tmp_path: Path) -> None:
    rows = {split: [{"text": str(at), "label": at % 2 == 0} for at in range(20)] for split in ROWS}
    _write(tmp_path / "flag", CARD | {"labels": [True, False]}, rows)
    assert load("flag", data=tmp_path).labels == ("true", "false")
    rows = {split: [{"text": at, "label": at % 2} for at in range(20)] for split in ROWS}
    _write(tmp_path / "number", CARD | {"labels": [0, 1]}, rows)
    assert load("number", data=tmp_path).examples("train")[3] == ("tiny text: 3", "1", "1")


def test_validation_is_carved_out_of_train_where_there_is_none(data: Path) -> None:
    (data / "tiny" / "validation.jsonl").unlink()
    task = load("tiny", data=data)
    assert [len(task.rows[split]) for split in SPLITS] == [36, 4, 8]
    assert not set(task.rows["train"]) & set(task.rows["validation"])
    assert task.notes == ("4 rows of validation were carved out of train",)
    assert load("tiny", data=data).fingerprint() == task.fingerprint()


def test_a_group_is_not_torn_when_validation_is_carved(tmp_path: Path) -> None:
    card = CARD | {"inputs": ["text", "passage"], "group": "passage"}
    table = [row | {"passage": f"{at // 4}"} for at, row in enumerate(ROWS["train"])]
    _write(tmp_path / "tiny", card, {"train": table, "test": table[:2]})
    rows = load("tiny", data=tmp_path).rows
    passages = {split: {row.fields[1] for row in rows[split]} for split in ("train", "validation")}
    assert passages["validation"]
    assert not passages["train"] & passages["validation"]


def test_inputs_that_come_again_in_test_are_said(tmp_path: Path) -> None:
    _write(tmp_path / "tiny", CARD, ROWS | {"test": [*ROWS["test"], *ROWS["train"][:3]]})
    assert load("tiny", data=tmp_path).notes == ("3 of 11 rows of test have an input that train or validation has too",)


def test_inputs_of_train_that_come_again_in_validation_are_said(tmp_path: Path) -> None:
    _write(tmp_path / "tiny", CARD, ROWS | {"validation": [*ROWS["validation"], *ROWS["train"][:2]]})
    assert load("tiny", data=tmp_path).notes == ("2 of 8 rows of validation have an input that train has too",)


def test_a_missing_split_file_is_said(data: Path) -> None:
    (data / "tiny" / "test.jsonl").unlink()
    _refuses(data, r"tiny has no test file in .*; put there one of: test\.jsonl, test\.jsonl\.gz, ")


def test_two_files_for_one_split_are_refused(data: Path) -> None:
    _as_csv(data / "tiny" / "train.csv", ROWS["train"])
    _refuses(data, r"tiny/train\.jsonl and train\.csv both hold train")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": "a", ', r"tiny/train\.jsonl:3: not JSON: .* at column \d+"),
        ('["a"]', r"train\.jsonl:3: a line must be one JSON object, not '\[\"a\"\]'"),
        ('{"txt": "a", "label": "good"}', r"train\.jsonl:3: the column 'text' is missing; there are: txt, label"),
        ('{"text": "a"}', r"train\.jsonl:3: the column 'label' is missing"),
        (
            '{"text": null, "label": "good"}',
            r"train\.jsonl:3: the column 'text' must hold a text or a number, not None",
        ),
        (
            '{"text": NaN, "label": "good"}',
            r"train\.jsonl:3: the column 'text' must hold a text or a number, not nan",
        ),
        (
            '{"text": "cut in the middle of \\ud83d", "label": "good"}',
            r"train\.jsonl:3: the column 'text' must hold a text or a number, not 'cut in the middle of \\ud83d'",
        ),
        ('{"text": ' + "9" * 5000 + "}", r"train\.jsonl:3: cannot be read: .* 5000 digits$"),
        ('{"text": ' + "[" * 99_999, r"train\.jsonl:3: cannot be read: maximum recursion depth exceeded"),
        ('{"text": "a", "label": "goof"}', r"train\.jsonl:3: unknown label 'goof'; did you mean 'good'"),
    ],
)
def test_a_broken_line_is_named_by_file_and_number(data: Path, line: str, message: str) -> None:
    path = data / "tiny" / "train.jsonl"
    path.write_text("\n".join([*path.read_text().splitlines()[:1], "", line, '{"never": "read"']))
    _refuses(data, message)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("text,label\na,good\nb,good,more\n", r"tiny/test\.csv:3: more values than the header's 2 columns"),
        ("text,label\na\n", r"tiny/test\.csv:2: the column 'label' must hold a text"),
        ('text,label\n"a,good\nb,good\nc"d,good\n', r"tiny/test\.csv:2: not CSV: .*; a quote inside a field is"),
        ("text,label,text\na,good,b\n", r"tiny/test\.csv:1: the column 'text' stands twice in the header"),
        (",text,,label\n0,a,,so\n", r"tiny/test\.csv:2: unknown label 'so'"),
        ("", "the test split is empty"),
    ],
)
def test_a_broken_csv_is_named_by_file_and_line(data: Path, table: str, message: str) -> None:
    (data / "tiny" / "test.jsonl").unlink()
    (data / "tiny" / "test.csv").write_text(table)
    _refuses(data, message)


def test_a_csv_holds_texts_as_long_as_json_lines_do(data: Path) -> None:
    (data / "tiny" / "test.jsonl").unlink()
    (data / "tiny" / "test.csv").write_text(f"text,label\n{'long ' * 40_000},good\n")
    assert len(load("tiny", data=data).rows["test"][0].fields[0]) == 200_000


@pytest.mark.parametrize(("name", "shown"), [("rows.csv", "rows.csv"), ("../tiny/rows.csv", "tiny/rows.csv")])
def test_a_file_is_named_with_its_folder_where_that_was_given(
    data: Path, monkeypatch: pytest.MonkeyPatch, name: str, shown: str
) -> None:
    view = View.model_validate(load("tiny", data=data).view())
    monkeypatch.chdir(data / "tiny")
    Path("rows.csv").write_text("txt\na\n")
    with pytest.raises(UserError, match=rf"^{shown}:2: the column 'text' is missing"):
        inputs_of(view, Path(name))


@pytest.mark.parametrize("suffix", [".jsonl.gz", ".parquet", ".jsonl"])
def test_a_file_of_another_kind_is_refused(data: Path, suffix: str) -> None:
    (data / "tiny" / "train.jsonl").unlink()
    (data / "tiny" / f"train{suffix}").write_bytes(b"\xff\xfe no table at all")
    _refuses(data, rf"tiny/train{suffix} (cannot be read|is not Parquet)")


def test_a_cut_gzip_file_is_refused(data: Path) -> None:
    (data / "tiny" / "train.jsonl").unlink()
    whole = gzip.compress(json.dumps(ROWS["train"][0]).encode() * 99)
    (data / "tiny" / "train.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    _refuses(data, r"tiny/train\.jsonl\.gz cannot be read")


def test_an_empty_split_is_refused(data: Path) -> None:
    (data / "tiny" / "validation.jsonl").write_text("\n")
    _refuses(data, "tiny: the validation split is empty")


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_label_that_train_never_shows_is_refused(tmp_path: Path, split: str) -> None:
    card = CARD | {"labels": [*CARD["labels"], "so_so"]}
    _write(tmp_path / "tiny", card, ROWS | {split: [*ROWS[split], {"text": "x", "label": "so_so"}]})
    _refuses(tmp_path, f"tiny: {split} has the label 'so_so', which train never shows; train has: good, very_bad")


def test_train_too_small_to_carve_is_refused(tmp_path: Path) -> None:
    _write(tmp_path / "tiny", CARD, {"train": ROWS["train"][:2], "test": ROWS["test"]})
    _refuses(tmp_path, "validation cannot be carved out of 2 rows of train with 2 different inputs")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"templat": "{text}"}, "tiny/task.json: unknown key 'templat'; did you mean 'template'"),
        ({"labels": ["good"]}, "tiny/task.json: a task has two labels at least"),
        ({"labels": None}, "tiny/task.json: labels: must be a list, not None"),
        ({"inputs": "text"}, "tiny/task.json: inputs: must be a list, not 'text'"),
        ({"words": ["yes"]}, r"tiny/task.json: words: must be keys and values, not \['yes'\]"),
        ({"name": 5}, "tiny/task.json: name: Input should be a valid string, not 5"),
        ({"metric": "acc"}, "tiny/task.json: unknown metric 'acc'"),
        ({"words": {"good": "yes"}}, "tiny/task.json: no word for 'very_bad'"),
        ({"group": "passage"}, "tiny/task.json: unknown group field 'passage'; choose from: text"),
        ({"inputs": ["text", "label"]}, "tiny/task.json: the label column 'label' cannot be an input, .*: text$"),
    ],
)
def test_a_card_that_no_task_can_mean_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    _write(tmp_path / "tiny", CARD | change, ROWS)
    _refuses(tmp_path, message)


def test_a_card_may_begin_with_a_byte_order_mark_as_tables_may(data: Path) -> None:
    card = data / "tiny" / "task.json"
    card.write_text(card.read_text(), encoding="utf-8-sig")
    assert load("tiny", data=data).name == "tiny"


def test_a_card_that_is_not_json_is_named_by_line(data: Path) -> None:
    (data / "tiny" / "task.json").write_text('{"name": "tiny",\n "labels": [}')
    _refuses(data, r"tiny/task\.json:2: not JSON: ")
    (data / "tiny" / "task.json").write_text("[" * 99_999)
    _refuses(data, r"tiny/task\.json: cannot be read: maximum recursion depth exceeded")


def test_a_folder_that_is_no_folder_of_tasks_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no data folder '.*nowhere'"):
        load("tiny", data=tmp_path / "nowhere")
    with pytest.raises(UserError, match="is itself a task; name the folder that holds it, and ask for 'tiny'"):
        load("tiny", data=data / "tiny")
    (data / "bare").mkdir()
    with pytest.raises(UserError, match=r"bare' is no task yet: it lacks task\.json"):
        load("bare", data=data)


def test_a_task_by_its_path_or_with_a_slash_is_answered_by_its_name(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="unknown task 'tiny/'; did you mean 'tiny'"):
        load("tiny/", data=data)
    monkeypatch.chdir(data)
    for path, given in (("tiny/", None), ("./tiny", data), (str(data / "tiny"), data)):
        with pytest.raises(UserError) as said:
            load(path, data=given)
        assert f"is a task's folder; give the task's name, 'tiny', and {str(data)!r} as the data" in str(said.value)


def test_tables_that_are_no_split_by_their_name_are_said(data: Path) -> None:
    (data / "tiny" / "validation.jsonl").rename(data / "tiny" / "dev.jsonl")
    said = load("tiny", data=data).notes
    assert said[0] == "not read: dev.jsonl; splits are files called train, validation, test"
    assert "carved out of train" in said[1]


def test_equal_inputs_that_leave_nothing_to_carve_are_named(data: Path) -> None:
    (data / "tiny" / "validation.jsonl").unlink()
    rows = [{"text": "the same", "label": label} for label in CARD["labels"]] * 10
    (data / "tiny" / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    _refuses(data, "validation cannot be carved out of 20 rows of train with 1 different inputs")
