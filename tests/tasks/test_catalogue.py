"""Names of tasks: finding, listing, demos, and what listing may import."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from autodelta.errors import UserError
from autodelta.tasks import SPLITS, Columns, available, demo, load
from autodelta.tasks.catalogue import EXCLUDED, PUBLISHED


def _card(data: Path, name: str, text: str | None = None) -> None:
    (data / name).mkdir()
    card = {"name": name, "labels": ["a", "b"], "inputs": ["text"], "kind": "made", "rows": {"train": 7}}
    (data / name / "task.json").write_text(text or json.dumps(card))


def test_a_misspelt_name_is_answered_by_the_nearest(tmp_path: Path) -> None:
    _card(tmp_path, "reviews")
    for wrong, right in (("rtee", "rte"), ("reveiws", "reviews"), ("demo/entailmnt", "entailment")):
        with pytest.raises(UserError, match=f"'; did you mean '{right}'"):
            load(wrong, data=tmp_path)


def test_the_data_folder_may_be_named_by_a_text(tmp_path: Path) -> None:
    _card(tmp_path, "reviews")
    assert available(str(tmp_path)) == available(tmp_path)
    with pytest.raises(UserError, match="reviews has no train file"):
        load("reviews", data=str(tmp_path))


@pytest.mark.parametrize("name", sorted(EXCLUDED))
def test_a_diagnostic_set_is_refused_with_the_reason(name: str) -> None:
    with pytest.raises(UserError, match="is left out: it is a diagnostic set"):
        load(name)


def test_all_of_glue_and_superglue_have_a_name() -> None:
    glue = {"cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "mnli_mismatched", "qnli", "rte", "wnli"}
    superglue = {"boolq", "cb", "copa", "multirc", "record", "rte", "wic", "wsc"}
    assert set(PUBLISHED) == glue | superglue


def test_every_kind_of_task_is_listed_files_first(tmp_path: Path) -> None:
    _card(tmp_path, "rte")
    found = available(tmp_path)
    assert (found[0].name, found[0].origin, found[0].kind, found[0].train_rows) == ("rte", "files", "made", 7)
    assert sorted(info.name for info in found) == sorted({*PUBLISHED, *(f"demo/{name}" for name in demo.names())})


def test_a_broken_card_spoils_only_its_own_line(tmp_path: Path) -> None:
    _card(tmp_path, "broken", "{")
    _card(tmp_path, "sound")
    for name, key, value in (("unmeasured", "metric", "acuracy"), ("unseen", "template", "{txt}")):
        _card(tmp_path, name)
        card = tmp_path / name / "task.json"
        card.write_text(json.dumps({**json.loads(card.read_text()), key: value}))
    found = {info.name: info.problem for info in available(tmp_path)}
    assert "not JSON" in found["broken"]
    assert found["unmeasured"].startswith("unmeasured/task.json: unknown metric 'acuracy'; did you mean 'accuracy'?")
    assert found["unseen"].startswith("unseen/task.json: unknown field in the template 'txt'")
    assert found["sound"] == ""


def test_columns_are_refused_where_a_task_has_its_own() -> None:
    with pytest.raises(UserError, match="columns are for tasks of the form hf:"):
        load("demo/entailment", columns=Columns(inputs=("text",)))


@pytest.mark.parametrize("name", demo.names())
def test_every_demo_is_a_task(name: str) -> None:
    task = load(f"demo/{name}?train=30&validation=10&test=12")
    assert [len(task.examples(split)) for split in SPLITS] == [30, 10, 12]
    assert task.name == f"demo/{name}?train=30&validation=10&test=12"


def test_a_demos_parameters_are_heard() -> None:
    sizes = "train=40&validation=8&test=8"
    plain = load(f"demo/entailment?{sizes}").fingerprint()
    assert load(f"demo/entailment?{sizes}").fingerprint() == plain
    for parameter in ("seed=1", "difficulty=1", "label_noise=0.4"):
        other = load(f"demo/entailment?{sizes}&{parameter}")
        assert other.rows["train"] != load(f"demo/entailment?{sizes}").rows["train"]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("trian=5", "unknown demo parameter 'trian'; did you mean 'train'"),
        ("train=many", "train must be a whole number, not 'many'"),
        ("difficulty=", "difficulty must be a number, not ''"),
        ("train=5&train=6", "train is given twice"),
        ("train=0", "must lie from 1 to 1,000,000, not 0"),
        ("test=1000001", "must lie from 1 to 1,000,000, not 1000001"),
        ("label_noise=2", "label noise .* not 2.0"),
    ],
)
def test_a_wrong_demo_parameter_is_refused(query: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load(f"demo/entailment?{query}")


def test_listing_imports_nothing_heavy(tmp_path: Path) -> None:
    _card(tmp_path, "reviews")
    code = "import sys, pathlib, autodelta.tasks as t; t.available(pathlib.Path(sys.argv[1])); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    heavy = {"torch", "transformers", "ray", "sklearn", "scipy", "datasets", "pandas", "pyarrow", "huggingface_hub"}
    assert not heavy & set(done.stdout.split())
