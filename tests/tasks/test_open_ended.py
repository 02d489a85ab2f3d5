"""Tasks without labels: every row has an answer of its own."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from autodelta.errors import UserError
from autodelta.search.answer.compare import GROUPS, Judge
from autodelta.tasks import Columns, Task, load, metrics
from autodelta.tasks.floor import NEAREST, USUAL_ANSWER, floors
from autodelta.tasks.metrics import score
from autodelta.tasks.view import View

PLACES = ["Paris", "Oslo", "the  old Town", "Rome"]
CARD: dict[str, Any] = {"name": "where", "inputs": ["question"]}


def save(folder: Path, card: dict[str, Any], *, column: str = "label", **splits: int) -> Path:
    folder.mkdir(parents=True)
    (folder / "task.json").write_text(json.dumps(card))
    for split, size in splits.items():
        rows = [{"question": f"where is house {at} of street {at % 3}", column: PLACES[at % 4]} for at in range(size)]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder.parent


@pytest.fixture
def where(tmp_path: Path) -> Task:
    return load("where", data=save(tmp_path / "where", CARD, train=40, test=8))


@pytest.mark.parametrize(
    ("metric", "gold", "predicted", "expected"),
    [
        ("exact_match", "The Town, of Oslo!", "town of oslo", 1.0),
        ("exact_match", "town of oslo", "oslo of town", 0.0),
        ("exact_match", "the", "", 1.0),
        ("token_f1", "a b b c", "b b d", 2 * (2 / 3) * (2 / 3) / (2 / 3 + 2 / 3)),  # an article does not count
        ("token_f1", "b", "", 0.0),
        ("token_f1", "the", "a", 1.0),
        ("rouge_l", "police killed the gunman", "police kill the gunman", 0.75),  # Lin 2004, section 3.1
        ("rouge_l", "police killed the gunman", "the gunman kill police", 0.5),  # the same
        ("rouge_l", "a b", "...", 0.0),
        ("rouge_l", "x y z w", "x w", 2 * 1.0 * 0.5 / 1.5),
    ],
)
def test_metrics_of_texts_agree_with_sums_by_hand(metric: str, gold: str, predicted: str, expected: float) -> None:
    assert score(metric, [gold], [predicted]) == pytest.approx(expected)
    assert score(metric, [gold, "z"], [predicted, "z"]) == pytest.approx((expected + 1) / 2)


@pytest.mark.parametrize(
    ("metric", "inner", "looks"),
    [("exact_match", "_normalised", 2), ("token_f1", "_normalised", 2), ("rouge_l", "_f1", 1)],
)
def test_rows_that_are_left_out_in_turn_are_compared_once_each(
    metric: str, inner: str, looks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []
    before = getattr(metrics, inner)
    monkeypatch.setattr(metrics, inner, lambda *given: seen.append(given) or before(*given))
    gold, written = ([f"{metric} {word} {at}" for at in range(80)] for word in ("gold", "written"))
    parts = Judge(gold, partial(score, metric)).left_out(written)
    assert len(parts) == GROUPS
    assert len(seen) == looks * 80


def test_answers_are_texts_that_the_model_is_to_write(where: Task) -> None:
    assert where.open_ended
    assert (where.labels, where.metric, where.max_new_tokens) == ((), "exact_match", 32)
    example = where.examples("test")[2]
    assert (example.label, example.target) == ("the old Town", "the old Town")
    assert "where names no labels: answers are free texts, 32 tokens at most" in where.notes
    assert [len(where.rows[split]) for split in ("train", "validation")] == [36, 4]
    assert View.model_validate(json.loads(json.dumps(where.view()))).open_ended


def test_parts_of_train_and_columns_of_other_names(tmp_path: Path) -> None:
    card = CARD | {"label": "answer", "metric": "token_f1", "max_new_tokens": 5}
    task = load("where", data=save(tmp_path / "where", card, column="answer", train=40, validation=4, test=8))
    assert task.examples("train")[1].label == "Oslo"
    assert (task.metric, task.max_new_tokens) == ("token_f1", 5)
    assert len(task.limited(1, 0).rows["train"]) == 1


def test_floors_are_the_usual_answer_and_that_of_the_nearest_row(tmp_path: Path) -> None:
    where = load("where", data=save(tmp_path / "where", CARD, train=41, validation=4, test=8))
    found = floors(where)
    assert found.keys() == {USUAL_ANSWER, NEAREST}
    train = [(row.fields[0], row.label) for row in where.rows["train"]]
    assert set(found[USUAL_ANSWER]) == {"Paris"}  # eleven rows; the others have ten
    known = dict(train)
    assert found[NEAREST] == [known[row.fields[0]] for row in where.rows["test"]]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"metric": "accuracy"}, "unknown metric 'accuracy'; choose from: exact_match, rouge_l, token_f1"),
        ({"labels": ["a", "b"], "metric": "rouge_l"}, "unknown metric 'rouge_l'; choose from: accuracy"),
        ({"labels": ["a"]}, "a task has two labels at least, or none where answers are free texts: 'a'"),
        ({"max_new_tokens": 0}, "max_new_tokens: .*greater than or equal to 1"),
        ({"words": {"a": "b"}}, "unknown label in words 'a'"),
        ({"label": "question"}, "the label column 'question' cannot be an input"),
    ],
)
def test_a_card_that_cannot_be_is_one_line(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        load("where", data=save(tmp_path / "where", CARD | change, train=8, test=4))


def test_answers_that_the_metric_sees_nothing_of_are_one_line_before_anything_is_trained(tmp_path: Path) -> None:
    data = save(tmp_path / "where", {**CARD, "metric": "rouge_l"}, train=40, test=8)
    file = tmp_path / "where" / "test.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    file.write_text("".join(json.dumps({**row, "label": "\u5965\u65af\u9646"}) + "\n" for row in rows))
    with pytest.raises(UserError, match=r"'rouge_l' sees no word .* of test; choose from: exact_match, token_f1"):
        load("where", data=data)


def test_an_empty_answer_is_named_with_its_row(tmp_path: Path) -> None:
    data = save(tmp_path / "where", CARD, train=8, test=4)
    (data / "where" / "test.jsonl").write_text('{"question": "what", "label": " "}\n')
    with pytest.raises(UserError, match=r"test\.jsonl:1: an answer is empty; leave such rows out"):
        load("where", data=data)


def test_a_data_set_is_open_ended_by_its_metric(tmp_path: Path) -> None:
    folder = tmp_path / "towns"
    folder.mkdir()
    for split, size in (("train", 30), ("test", 6)):
        rows = [{"question": f"house {at}", "town": PLACES[at % 4]} for at in range(size)]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    columns = Columns(inputs=("question",), label="town", metric="rouge_l", max_new_tokens=7)
    task = load("hf:towns", data=tmp_path, columns=columns)
    assert task.open_ended
    assert task.max_new_tokens == 7
    assert [row.label for row in task.rows["test"]][:3] == ["Paris", "Oslo", "the old Town"]
