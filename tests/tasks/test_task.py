"""Tasks once loaded: examples, views, limits, fingerprints."""

import json
import pickle

import pytest

from autodelta.errors import UserError
from autodelta.tasks import View
from autodelta.tasks.task import Row, Task, assemble

VIEW = View(
    name="pair",
    inputs=("one", "two"),
    template="pair one: {one} two: {two}",
    labels=("yes", "no"),
    words={"yes": "yes", "no": "no"},
    metric="accuracy",
)


def _task(sizes: tuple[int, int, int] = (40, 6, 8), view: View = VIEW) -> Task:
    rows = {
        split: [Row((f"{split} {at}", str(at)), view.labels[at % 4 == 0]) for at in range(size)]
        for split, size in zip(("train", "validation", "test"), sizes, strict=True)
    }
    return assemble(view, rows, licence="none")


def test_a_recipe_can_rebuild_the_view() -> None:
    task = _task()
    assert View.model_validate(json.loads(json.dumps(task.view()))) == VIEW
    assert View.model_validate(task.view()).render(task.rows["test"][0].fields) == task.examples("test")[0].input


def test_a_task_scores_labels() -> None:
    task = _task()
    gold = [example.label for example in task.examples("test")]
    assert task.score(gold, ["yes"] * 8) == 0.75


def test_another_view_may_drop_and_reorder_fields() -> None:
    other = View(**{**dict(VIEW), "inputs": ("two",), "template": "only {two}", "words": {"yes": "1", "no": "0"}})
    seen = _task().through(other)
    assert seen.examples("test")[1] == ("only 1", "yes", "1")
    assert seen.name == "pair"


def test_a_view_that_does_not_fit_the_rows_is_refused() -> None:
    with pytest.raises(UserError, match="pair: unknown field 'three'"):
        _task().through(View(**{**dict(VIEW), "inputs": ("three",), "template": "{three}"}))
    with pytest.raises(UserError, match="unknown label 'no'"):
        _task().through(View(**{**dict(VIEW), "labels": ("yes", "may"), "words": {"yes": "y", "may": "m"}}))


def test_a_limited_task_has_fewer_training_rows_of_every_label() -> None:
    task = _task()
    small = task.limited(8, 1)
    assert [len(small.rows[split]) for split in ("train", "validation", "test")] == [8, 6, 8]
    assert sum(row.label == "no" for row in small.rows["train"]) == 2
    assert set(small.rows["train"]) < set(task.rows["train"])
    assert small == task.limited(8, 1)
    assert small != task.limited(8, 2)
    assert task.limited(1000, 1) == task


def test_a_limit_that_hides_a_label_is_refused() -> None:
    with pytest.raises(UserError, match="pair: 1 rows of train cannot show each of 2 labels; ask for 2"):
        _task().limited(1, 0)


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(UserError, match=r"unknown split 'dev'; .*choose from: test, train, validation"):
        _task().examples("dev")


def test_the_fingerprint_tells_views_and_rows_apart_and_nothing_else() -> None:
    task = _task()
    told = {
        task.fingerprint(),
        _task((39, 6, 8)).fingerprint(),
        task.limited(8, 1).fingerprint(),
        _task(view=View(**{**dict(VIEW), "template": "{one} {two}"})).fingerprint(),
    }
    assert len(told) == 4
    assert task.model_copy(update={"licence": "MIT", "notes": ("n",)}).fingerprint() == task.fingerprint()


def test_a_task_travels_to_another_process() -> None:
    assert pickle.loads(pickle.dumps(_task())) == _task()


def test_rows_do_not_flood_a_message() -> None:
    assert "train 3" not in repr(_task())
