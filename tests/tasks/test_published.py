"""Tasks from Hugging Face data sets, over small files in the hub's layout; nothing here reaches the hub."""

import json
import logging
import time
from pathlib import Path
from typing import Any

import datasets
import pytest

from autodelta.errors import UserError
from autodelta.tasks import Columns, hub, load
from autodelta.tasks.catalogue import PUBLISHED
from autodelta.tasks.published import Published
from autodelta.tasks.superglue import multirc, record_entities, wsc

SIZES = {"train": 40, "test": 6}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    for owner in ("datasets.config", "huggingface_hub.constants"):  # offline is found out, not told
        monkeypatch.setattr(f"{owner}.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    datasets.disable_progress_bars()


def _value(column: str, at: int) -> Any:
    """Something that the hub's column of that name could hold."""
    made = {
        "span1_index": 0,
        "span1_text": "Row",
        "span2_index": 2,
        "span2_text": "it",
        "entities": ["Ann", "Bob"],
        "answers": ["Ann"],
        "query": f"{at} @placeholder left",
        "text": f"Row {at} it said",
    }
    return made.get(column, f"{column} {at}")


def _table(task: Published, size: int) -> datasets.Dataset:
    columns = task.columns or (*task.view.inputs, "label")
    table: dict[str, list[Any]] = {column: [_value(column, at) for at in range(size)] for column in columns}
    if "label" not in table:
        return datasets.Dataset.from_dict(table)
    if task.view.ordinal:
        return datasets.Dataset.from_dict(table | {"label": [at % 51 / 10 for at in range(size)]})
    names = list(task.view.labels)
    made = datasets.Dataset.from_dict(table | {"label": [at % len(names) for at in range(size)]})
    return made.cast_column("label", datasets.ClassLabel(names=names))


def _publish(folder: Path, task: Published, *, exported: bool = False) -> None:
    """The files of one config as the hub has them, or as its Parquet export has them."""
    for split, size in (("train", SIZES["train"]), (task.test, SIZES["test"])):
        path = folder / (f"{split}/0000.parquet" if exported else f"{split}-00000-of-00001.parquet")
        path.parent.mkdir(parents=True, exist_ok=True)
        _table(task, size).to_parquet(path)


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_every_published_task_loads_from_the_hubs_layout(name: str, tmp_path: Path) -> None:
    published = PUBLISHED[name]
    _publish(tmp_path / published.dataset / published.config, published)
    task = load(name, data=tmp_path)
    rows = 2 if name == "record" else 1
    assert len(task.rows["train"]) + len(task.rows["validation"]) == rows * SIZES["train"]
    assert len(task.rows["test"]) == rows * SIZES["test"]
    assert any("carved" in note for note in task.notes)
    assert {row.label for row in task.rows["train"]} <= set(task.labels)
    assert task.examples("test")[0].input.startswith(published.config.split(".")[0])


@pytest.mark.parametrize("where", ["owner/name", "name", "itself", "export"])
def test_a_copy_is_found_wherever_a_download_may_have_put_it(where: str, tmp_path: Path) -> None:
    root = {"owner/name": tmp_path / "nyu-mll" / "glue", "itself": tmp_path}.get(where, tmp_path / "glue")
    _publish(root / "rte", PUBLISHED["rte"], exported=where == "export")
    task = load("rte", data=tmp_path)
    assert task.examples("test")[1] == ("rte sentence1: sentence1 1 sentence2: sentence2 1", *["not_entailment"] * 2)


def test_similarity_is_rounded_to_fifths_and_scored_by_correlation(tmp_path: Path) -> None:
    _publish(tmp_path / "glue" / "stsb", PUBLISHED["stsb"])
    task = load("stsb", data=tmp_path)
    assert [row.label for row in task.rows["test"]] == ["0.0", "0.0", "0.2", "0.2", "0.4", "0.4"]
    assert len(task.labels) == 26
    assert task.score(["0.0", "2.0", "4.0"], ["1.0", "2.0", "3.0"]) == pytest.approx(1)


def test_hypotheses_of_one_premise_are_not_torn_apart(tmp_path: Path) -> None:
    _publish(tmp_path / "glue" / "rte", PUBLISHED["rte"])
    path = tmp_path / "glue" / "rte" / "train-00000-of-00001.parquet"
    table = _table(PUBLISHED["rte"], 40)
    table = table.remove_columns("sentence1").add_column("sentence1", [f"premise {at // 2}" for at in range(40)])
    table.to_parquet(path)
    rows = load("rte", data=tmp_path).rows
    premises = {split: {row.fields[0] for row in rows[split]} for split in ("train", "validation")}
    assert len(premises["validation"]) == 2
    assert not premises["train"] & premises["validation"]


def test_mnli_has_a_matched_and_a_mismatched_test(tmp_path: Path) -> None:
    for name in ("mnli", "mnli_mismatched"):
        _publish(tmp_path / "glue" / "mnli", PUBLISHED[name])
    assert load("mnli", data=tmp_path).rows["train"] == load("mnli_mismatched", data=tmp_path).rows["train"]


def test_wsc_marks_the_noun_and_the_pronoun() -> None:
    spans = {"span1_index": 0, "span1_text": "The big dog", "span2_index": 5, "span2_text": "it"}
    record = {"text": "The big dog ran. Then it slept.", "label": 1, **spans}
    assert list(wsc(record)) == [{"text": "* The big dog * ran. Then # it # slept.", "label": 1}]


def test_multirc_loses_its_markup() -> None:
    record = {"paragraph": "<b>Sent 1: </b>One.<br><b>Sent 2: </b>Two.<br>", "question": "q", "answer": "a", "label": 0}
    assert next(iter(multirc(record)))["paragraph"] == "Sent 1: One. Sent 2: Two."


def test_record_asks_of_every_entity() -> None:
    record = {
        "passage": "Ann met Bob\n@highlight\nBob left.",
        "query": "@placeholder stayed",
        "entities": ["Bob", "Ann"],
        "answers": ["Ann"],
    }
    made = list(record_entities(record))
    assert [(row["query"], row["label"]) for row in made] == [("Ann stayed", 1), ("Bob stayed", 0)]
    assert made[0]["passage"] == "Ann met Bob. Bob left."
    assert {row["label"] for row in record_entities(record | {"answers": []})} == {None}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.remove_columns("sentence2"), "task 'rte': unknown column 'sentence2'"),
        (lambda table: table.select([]), "cannot be read as a data set: .*corresponds to no data"),
        (
            lambda table: table.remove_columns("label").add_column("label", [-1] * len(table)),
            "the labels of the split 'validation' are not public",
        ),
        (
            lambda table: table.remove_columns("label").add_column("label", [7] * len(table)),
            "rte: validation row 1: unknown label '7'",
        ),
    ],
)
def test_a_copy_that_is_not_the_data_set_is_refused(change: Any, message: str, tmp_path: Path) -> None:
    _publish(tmp_path / "glue" / "rte", PUBLISHED["rte"])
    path = tmp_path / "glue" / "rte" / "validation-00000-of-00001.parquet"
    change(_table(PUBLISHED["rte"], SIZES["test"])).to_parquet(path)
    with pytest.raises(UserError, match=message):
        load("rte", data=tmp_path)


def test_a_copy_without_a_split_is_refused(tmp_path: Path) -> None:
    _publish(tmp_path / "glue" / "rte", PUBLISHED["rte"])
    (tmp_path / "glue" / "rte" / "validation-00000-of-00001.parquet").unlink()
    with pytest.raises(UserError, match="task 'rte': unknown split 'validation'; choose from: train"):
        load("rte", data=tmp_path)


@pytest.mark.parametrize("name", ["train-00000-of-00001.parquet", "train.jsonl", "train.csv"])
def test_a_broken_copy_is_refused_in_one_line(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("datasets"), "handlers", [caplog.handler])
    (tmp_path / "glue" / "rte").mkdir(parents=True)
    (tmp_path / "glue" / "rte" / name).write_bytes(b'"not, a\ntable, at, all\n\xff')
    with pytest.raises(UserError, match="cannot be read as a data set") as caught:
        load("rte", data=tmp_path)
    assert "\n" not in str(caught.value)
    assert caplog.messages == []


@pytest.mark.parametrize("name", ["rte", "hf:someone/something/part", "hf:something/part"])
def test_without_network_or_copy_one_line_says_at_once_what_to_do(name: str) -> None:
    started = time.monotonic()
    with pytest.raises(UserError, match=r"no network and no local copy; .*hf download .*--data DIR.*demo/") as caught:
        load(name)
    assert "\n" not in str(caught.value)
    assert time.monotonic() - started < 5


def test_a_folder_with_a_card_is_no_copy_of_a_data_set(tmp_path: Path) -> None:
    _publish(tmp_path / "mnli", PUBLISHED["mnli_mismatched"])
    (tmp_path / "mnli" / "task.json").write_text("{}")
    with pytest.raises(UserError, match="no network and no local copy"):
        load("mnli_mismatched", data=tmp_path)


def test_another_tasks_folder_is_no_copy_of_a_data_set_that_is_not_there(tmp_path: Path) -> None:
    _reviews(tmp_path / "data", {"train": 30, "test": 10})
    with pytest.raises(UserError, match="no network and no local copy"):
        load("hf:news", data=tmp_path, columns=REVIEWS)
    assert load("hf:data", data=tmp_path / "data", columns=REVIEWS).rows["test"]


def test_without_network_an_earlier_load_is_found_in_the_cache(tmp_path: Path) -> None:
    from datasets.packaged_modules.parquet.parquet import Parquet

    _publish(tmp_path / "hub", PUBLISHED["rte"])
    files = {split: [str(tmp_path / "hub" / f"{split}-00000-of-00001.parquet")] for split in ("train", "validation")}
    cache = tmp_path / "cache"
    Parquet(
        cache_dir=str(cache), dataset_name="glue", config_name="rte", hash="0", data_files=files
    ).download_and_prepare()
    (made,) = (cache / "glue").iterdir()  # the hub's builder names these two folders so
    made.rename(cache / "glue" / "rte")
    (cache / "glue").rename(cache / "nyu-mll___glue")
    assert len(load("rte").rows["test"]) == SIZES["test"]
    assert not datasets.config.HF_HUB_OFFLINE


def test_a_data_set_that_is_a_script_is_read_from_its_parquet_export(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def load_dataset(*args: Any, **options: Any) -> dict[str, datasets.Dataset]:
        asked.append((args, options))
        if "revision" not in options:
            raise RuntimeError("Dataset scripts are no longer supported, but found super_glue.py")
        return {split: _table(PUBLISHED["boolq"], 20) for split in ("train", "validation")}

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(hub.hub, "reachable", lambda: True)
    assert len(load("boolq").rows["test"]) == 20
    assert asked == [
        (("aps/super_glue", "boolq"), {}),
        (("aps/super_glue",), {"revision": "refs/convert/parquet", "data_dir": "boolq"}),
    ]


def test_what_the_hub_answers_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(*_: Any, **__: Any) -> None:
        raise datasets.exceptions.DatasetNotFoundError("Dataset 'a/b' doesn't exist\non the Hub")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(hub.hub, "reachable", lambda: True)
    with pytest.raises(UserError, match=r"the data set a/b or a \(b\) cannot be loaded: Dataset 'a/b' doesn't exist$"):
        load("hf:a/b")


def _reviews(folder: Path, splits: dict[str, int], **more: Any) -> None:
    folder.mkdir(parents=True)
    for split, size in splits.items():
        rows = [{"text": f"{split} {at}", "stars": at % 2, "id": at} | more for at in range(size)]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


REVIEWS = Columns(inputs=("text",), label="stars", labels=("poor", "good"))


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("hf:someone/reviews/books", "someone/reviews/books"),
        ("hf:reviews/books", "reviews/books"),
        ("hf:someone/reviews", "someone/reviews"),
        ("hf:reviews", "reviews/data"),
    ],
)
def test_any_data_set_is_a_task_by_its_columns(name: str, folder: str, tmp_path: Path) -> None:
    _reviews(tmp_path / folder, {"train": 30, "validation": 8, "test": 10})
    task = load(name, data=tmp_path, columns=REVIEWS)
    assert [len(task.rows[split]) for split in ("train", "validation", "test")] == [30, 8, 10]
    prefix = "books" if folder.endswith("books") else "reviews"
    assert task.examples("test")[1] == (f"{prefix} text: test 1", "good", "good")


def test_words_that_other_programs_read_as_missing_are_texts_and_labels(tmp_path: Path) -> None:
    (tmp_path / "reviews").mkdir()
    for split in ("train", "test"):
        rows = [f"{('NA', 'null', f'{split} {at}')[at % 3]},{('None', 'Some')[at % 2]}\n" for at in range(30)]
        (tmp_path / "reviews" / f"{split}.csv").write_text("text,stars\n" + "".join(rows))
    task = load("hf:reviews", data=tmp_path, columns=REVIEWS.model_copy(update={"labels": ()}))
    assert task.labels == ("None", "Some")
    assert len(task.rows["test"]) == 30
    assert {("NA",), ("null",)} < {row.fields for row in task.rows["test"]}


def test_shards_that_were_pushed_with_a_hash_in_their_names_are_found(tmp_path: Path) -> None:
    for split, shards in (("train", 2), ("test", 1)):
        for at in range(shards):
            rows = [{"text": f"{split} {at} {number}", "stars": number % 2} for number in range(20)]
            name = f"{split}-{at:05}-of-{shards:05}-a09b74b3ef9c3b5{at}.parquet"
            datasets.Dataset.from_list(rows).to_parquet(tmp_path / "reviews" / "data" / name)
    task = load("hf:reviews", data=tmp_path, columns=REVIEWS)
    assert [len(task.rows[split]) for split in ("train", "validation", "test")] == [36, 4, 20]


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_a_file_of_another_kind_that_holds_no_rows_hides_none(suffix: str, tmp_path: Path) -> None:
    _reviews(tmp_path / "reviews", {"train": 30, "test": 8})
    if suffix == "csv":
        for file in (tmp_path / "reviews").glob("*.jsonl"):
            datasets.Dataset.from_json(str(file)).to_csv(file.with_suffix(".csv"))
            file.unlink()
    (tmp_path / "reviews" / ("label_map.json" if suffix == "csv" else "labels.csv")).write_text('{"poor": 0}')
    assert len(load("hf:reviews", data=tmp_path, columns=REVIEWS).rows["test"]) == 8


def test_files_about_a_data_set_are_not_taken_for_its_rows(tmp_path: Path) -> None:
    _reviews(tmp_path / "reviews", {"train": 30, "test": 8})
    for split in ("train", "test"):
        file = tmp_path / "reviews" / f"{split}.jsonl"
        datasets.Dataset.from_list([json.loads(line) for line in file.read_text().splitlines()]).to_csv(
            file.with_suffix(".csv")
        )
        file.unlink()
    (tmp_path / "reviews" / "dataset_infos.json").write_text('{"default": {"splits": {}}}')
    assert len(load("hf:reviews", data=tmp_path, columns=REVIEWS).rows["test"]) == 8


def test_a_data_set_saved_to_disk_is_read(tmp_path: Path) -> None:
    rows = {"text": [str(at) for at in range(30)], "stars": [at % 2 for at in range(30)]}
    whole = datasets.Dataset.from_dict(rows)
    datasets.DatasetDict({"train": whole, "test": whole}).save_to_disk(tmp_path / "reviews")
    assert len(load("hf:reviews", data=tmp_path, columns=REVIEWS).rows["test"]) == 30
    next((tmp_path / "reviews" / "test").glob("*.arrow")).write_bytes(b"torn")
    with pytest.raises(UserError, match="cannot be read as a data set"):
        load("hf:reviews", data=tmp_path, columns=REVIEWS)


def test_an_empty_file_is_refused_in_one_line(tmp_path: Path) -> None:
    _reviews(tmp_path / "reviews", {"train": 30, "test": 0})
    with pytest.raises(UserError, match="cannot be read as a data set: a file is empty"):
        load("hf:reviews", data=tmp_path, columns=REVIEWS)


def test_without_public_test_labels_the_validation_split_is_test(tmp_path: Path) -> None:
    _reviews(tmp_path / "reviews", {"train": 30, "dev": 8})
    (tmp_path / "reviews" / "test.jsonl").write_text('{"text": "a", "stars": -1}\n')
    task = load("hf:reviews", data=tmp_path, columns=REVIEWS)
    assert [len(task.rows[split]) for split in ("train", "validation", "test")] == [26, 4, 8]
    assert task.notes[0] == "test is the split 'dev'"


def test_rows_without_a_label_are_dropped_and_said(tmp_path: Path) -> None:
    _reviews(tmp_path / "reviews", {"train": 30, "test": 8})
    with (tmp_path / "reviews" / "train.jsonl").open("a") as out:
        out.write('{"text": "a", "stars": -1}\n')
    assert "1 rows of train have no label and were dropped" in load("hf:reviews", data=tmp_path, columns=REVIEWS).notes


def test_train_is_not_shown_again_as_another_split(tmp_path: Path) -> None:
    """Data sets that were published for evaluation alone have no split of the name train."""
    _reviews(tmp_path / "reviews", {"validation": 40, "test": 20})
    task = load("hf:reviews", data=tmp_path, columns=REVIEWS.model_copy(update={"train": "validation"}))
    texts = [{row.fields for row in task.rows[split]} for split in ("train", "validation", "test")]
    assert not texts[0] & texts[1]
    assert sum(map(len, texts)) == 60
    for change in ({"train": "test", "test": "test"}, {"train": "validation", "validation": "validation"}):
        with pytest.raises(UserError, match="is train already"):
            load("hf:reviews", data=tmp_path, columns=REVIEWS.model_copy(update=change))
    _reviews(tmp_path / "whole", {"train": 30, "test": 20})
    with pytest.raises(UserError, match="cannot be validation and test both"):
        load("hf:whole", data=tmp_path, columns=REVIEWS.model_copy(update={"validation": "test", "test": "test"}))
    _reviews(tmp_path / "alone", {"validation": 40})
    with pytest.raises(UserError, match="no test split with labels"):
        load("hf:alone", data=tmp_path, columns=REVIEWS.model_copy(update={"train": "validation"}))


def test_minus_one_is_a_class_where_somebody_says_so(tmp_path: Path) -> None:
    _reviews(tmp_path / "reviews", {"train": 60, "test": 20})
    for split in ("train", "test"):
        file = tmp_path / "reviews" / f"{split}.jsonl"
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        file.write_text("".join(json.dumps({**row, "stars": row["id"] % 3 - 1}) + "\n" for row in rows))
    named = load("hf:reviews", data=tmp_path, columns=REVIEWS.model_copy(update={"labels": ("-1", "0", "1")}))
    assert len(named.rows["test"]) == 20
    assert {row.label for row in named.rows["test"]} == {"-1", "0", "1"}
    words = REVIEWS.model_copy(update={"labels": ("bad", "fair", "good")})  # which would be counted from 0 on
    with pytest.raises(UserError, match="holds -1, 0, 1 for 3 labels; if -1 is one of them, name them as they stand"):
        load("hf:reviews", data=tmp_path, columns=words)
    with pytest.raises(UserError, match="may be a class or a hidden label; name its labels, -1 too if it is one"):
        load("hf:reviews", data=tmp_path, columns=REVIEWS.model_copy(update={"labels": ()}))
    scale = REVIEWS.model_copy(update={"labels": ("-1.0", "0.0", "1.0"), "metric": "pearson"})
    assert len(load("hf:reviews", data=tmp_path, columns=scale).rows["test"]) == 20


@pytest.mark.parametrize("counted", [True, False])
def test_integers_are_counted_where_they_are_not_all_labels_themselves(counted: bool, tmp_path: Path) -> None:
    """Five stars, kept as 0 to 4: a 1 means two stars, though there is a label '1'."""
    names = ("1", "2", "3", "4", "5")
    for split, size in (("train", 50), ("test", 10)):
        table = datasets.Dataset.from_dict(
            {"text": [f"{split} {at}" for at in range(size)], "stars": [at % 5 for at in range(size)]}
        )
        made = table.cast_column("stars", datasets.ClassLabel(names=list(names))) if counted else table
        made.to_parquet(tmp_path / "reviews" / f"{split}.parquet")
    columns = REVIEWS.model_copy(update={"labels": () if counted else names})
    task = load("hf:reviews", data=tmp_path, columns=columns)
    assert [row.label for row in task.rows["test"]] == [*names, *names]
    if counted:
        for change in ({"metric": "pearson"}, {"labels": names[::-1]}):
            task = load("hf:reviews", data=tmp_path, columns=columns.model_copy(update=change))
            assert [row.label for row in task.rows["test"]] == [*names, *names]


def test_integers_that_are_all_labels_are_not_counted(tmp_path: Path) -> None:
    _reviews(tmp_path / "reviews", {"train": 40, "test": 8})
    columns = REVIEWS.model_copy(update={"label": "id", "labels": tuple(str(at) for at in range(1, 41))})
    for split in ("train", "test"):
        file = tmp_path / "reviews" / f"{split}.jsonl"
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        file.write_text("".join(json.dumps({**row, "id": row["id"] % 4 + 1}) + "\n" for row in rows))
    assert {row.label for row in load("hf:reviews", data=tmp_path, columns=columns).rows["test"]} == set("1234")
    with pytest.raises(UserError, match="unknown label '3'; labels are counted from 0 on: a, b, c"):
        load("hf:reviews", data=tmp_path, columns=columns.model_copy(update={"labels": ("a", "b", "c")}))


def test_a_label_that_is_a_list_is_refused_in_one_line(tmp_path: Path) -> None:
    _reviews(tmp_path / "reviews", {"train": 30, "test": 8}, several=[0, 1])
    columns = REVIEWS.model_copy(update={"label": "several"})
    with pytest.raises(UserError, match="the column 'several' holds no classes"):
        load("hf:reviews", data=tmp_path, columns=columns.model_copy(update={"labels": ()}))
    with pytest.raises(UserError, match=r"train row 1: a label must be a text or a number, not \[0, 1\]"):
        load("hf:reviews", data=tmp_path, columns=columns.model_copy(update={"labels": ("None", "Some")}))


def test_a_missing_label_is_no_label_called_none(tmp_path: Path) -> None:
    _reviews(tmp_path / "reviews", {"train": 30, "test": 8})
    for split in ("train", "test"):
        file = tmp_path / "reviews" / f"{split}.jsonl"
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        named = [{**row, "stars": (None, "None", "Some")[row["id"] % 3]} for row in rows]
        file.write_text("".join(json.dumps(row) + "\n" for row in named))
    task = load("hf:reviews", data=tmp_path, columns=REVIEWS.model_copy(update={"labels": ()}))
    assert len(task.rows["train"]) + len(task.rows["validation"]) == 20


def test_class_names_are_found_where_the_column_has_them(tmp_path: Path) -> None:
    _publish(tmp_path / "reviews", PUBLISHED["rte"])
    task = load("hf:reviews", data=tmp_path, columns=Columns(inputs=("sentence1",)))
    assert task.labels == PUBLISHED["rte"].view.labels
    assert task.words["not_entailment"] == "not entailment"


def test_numbers_are_labels_where_nobody_names_them(tmp_path: Path) -> None:
    _reviews(tmp_path / "reviews", {"train": 30, "test": 8})
    assert load("hf:reviews", data=tmp_path, columns=REVIEWS.model_copy(update={"labels": ()})).labels == ("0", "1")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": ("txt",)}, "unknown column 'txt'; did you mean 'text'"),
        ({"label": "star"}, "unknown column 'star'; did you mean 'stars'"),
        ({"train": "trian"}, "unknown split 'trian'; did you mean 'train'"),
        ({"labels": ("poor",)}, "a task has two labels at least"),
        ({"metric": "f1"}, "unknown metric 'f1'"),
        ({"group": "id"}, "unknown group column 'id'; choose from: text"),
        ({"inputs": ("text", "stars")}, "the label column 'stars' cannot be an input, as it is the answer"),
        ({"label": "score", "labels": ()}, "the column 'score' holds no classes; name its labels"),
    ],
)
def test_columns_that_the_data_set_lacks_are_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    _reviews(tmp_path / "reviews", {"train": 30, "test": 8}, score=0.5)
    with pytest.raises(UserError, match=message):
        load("hf:reviews", data=tmp_path, columns=REVIEWS.model_copy(update=change))


def test_columns_must_be_named(tmp_path: Path) -> None:
    _reviews(tmp_path / "reviews", {"train": 30, "test": 8})
    with pytest.raises(
        UserError, match="say which columns are inputs and which is the label; there are: id, stars, text"
    ):
        load("hf:reviews", data=tmp_path)


@pytest.mark.parametrize("name", ["hf:", "hf:a//b", "hf:a/b/c/d"])
def test_a_name_that_is_no_data_set_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="names no data set; write hf:dataset"):
        load(name)
