"""Conformance of every demo task that is registered, and what their generator promises."""

import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from autodelta.errors import UserError
from autodelta.tasks import demo
from autodelta.tasks.demo._grammar import plural
from autodelta.tasks.demo._task import SPLITS, DemoTask, draw_rows, reserved_words

EVERY = pytest.mark.parametrize("name", demo.names())


@cache
def _rows(name: str, split: str, size: int | None = None, seed: int = 0) -> tuple[dict[str, str], ...]:
    return tuple(demo.rows(name, split=split, size=size, seed=seed))


def _text(name: str, row: dict[str, str]) -> str:
    return demo.describe(name).template.format(**row)


def _inputs(name: str, row: dict[str, str]) -> tuple[str, ...]:
    return tuple(row[field] for field in demo.describe(name).inputs)


def test_the_registry_is_the_folder() -> None:
    folder = Path(demo.__file__).parent
    assert set(demo.names()) == {path.stem for path in folder.glob("[!_]*.py")}
    assert len(demo.names()) >= 8


@EVERY
def test_a_task_describes_itself(name: str) -> None:
    info = demo.describe(name)
    assert info.name == name
    assert info.description
    assert info.kind
    assert set(info.words) == set(info.labels)
    assert len(set(info.words.values())) == len(info.labels)
    assert all("{" + field + "}" in info.template for field in info.inputs)


@EVERY
def test_the_same_arguments_give_the_same_rows(name: str) -> None:
    again = demo.rows(name, split="train", size=60, seed=0)
    assert again == list(_rows(name, "train", 60))
    assert again != list(_rows(name, "train", 60, 1))


@EVERY
def test_a_smaller_draw_is_the_beginning_of_a_larger_one(name: str) -> None:
    larger = demo.rows(name, split="test", size=60)
    assert demo.rows(name, split="test", size=20) == larger[:20]


@EVERY
def test_no_row_is_drawn_twice_or_for_two_splits_under_any_seeds(name: str) -> None:
    train = {_inputs(name, row) for row in _rows(name, "train")}
    validation = {_inputs(name, row) for row in _rows(name, "validation", None, 1)}
    test = {_inputs(name, row) for row in _rows(name, "test", None, 2)}
    info = demo.describe(name)
    assert (len(train), len(validation), len(test)) == (info.train_size, info.validation_size, info.test_size)
    assert not train & validation
    assert not train & test
    assert not validation & test


@EVERY
def test_every_field_of_every_row_is_filled(name: str) -> None:
    info = demo.describe(name)
    for row in _rows(name, "test"):
        assert set(row) == {*info.inputs, "label"}
        assert all(text.strip() == text and text and "{" not in text and "  " not in text for text in row.values())
        assert row["label"] in info.labels


@EVERY
def test_labels_are_equally_frequent(name: str) -> None:
    counts = Counter(row["label"] for row in _rows(name, "test"))
    assert set(counts) == set(demo.describe(name).labels)
    assert max(counts.values()) - min(counts.values()) <= 1


@EVERY
def test_counting_words_fails_on_more_than_a_quarter_of_the_rows(name: str) -> None:
    vectors = TfidfVectorizer(token_pattern=r"\w+")
    train, test = _rows(name, "train"), _rows(name, "test")
    model = LogisticRegression(C=3, max_iter=200).fit(
        vectors.fit_transform([_text(name, row) for row in train]), [row["label"] for row in train]
    )
    accuracy = model.score(vectors.transform([_text(name, row) for row in test]), [row["label"] for row in test])
    assert accuracy < 0.72, accuracy


@EVERY
def test_train_never_shows_the_reserved_words_and_test_does(name: str) -> None:
    task = _task(name)
    absent = reserved_words(task)
    shown = {word.strip(".,;?").lower() for row in _rows(name, "train") for word in _text(name, row).split()}
    tested = {word.strip(".,;?").lower() for row in _rows(name, "test") for word in _text(name, row).split()}
    assert not absent & shown
    assert len(absent & tested) >= len(absent) / 2


@EVERY
@pytest.mark.parametrize("difficulty", [0.0, 1.0])
def test_every_difficulty_can_be_drawn_at_the_default_sizes(name: str, difficulty: float) -> None:
    for split in SPLITS:
        assert len(demo.rows(name, split=split, difficulty=difficulty)) == demo.describe(name).size(split)


@EVERY
def test_difficulty_changes_the_rows(name: str) -> None:
    easy, hard = (demo.rows(name, split="test", size=100, difficulty=level) for level in (0.0, 1.0))
    assert easy != hard


@EVERY
def test_label_noise_gives_its_share_of_train_rows_another_label_and_leaves_the_rest(name: str) -> None:
    clean = demo.rows(name, split="train", size=200, label_noise=0.0)
    noisy = demo.rows(name, split="train", size=200, label_noise=0.2)
    assert [_inputs(name, row) for row in clean] == [_inputs(name, row) for row in noisy]
    assert sum(a["label"] != b["label"] for a, b in zip(clean, noisy, strict=True)) == 40
    for split in ("validation", "test"):
        assert demo.rows(name, split=split, size=40, label_noise=0.5) == demo.rows(name, split=split, size=40)


@EVERY
def test_sentences_are_written_as_english(name: str) -> None:
    for row in _rows(name, "test"):
        text = _text(name, row)
        assert " a a" not in text.lower().replace(" a and", " ")
        assert " an b" not in text
        assert " ," not in text
        assert " ." not in text


@pytest.mark.parametrize(
    ("noun", "many"), [("gentleman", "gentlemen"), ("radio", "radios"), ("box", "boxes"), ("city", "cities")]
)
def test_nouns_have_their_english_plural(noun: str, many: str) -> None:
    assert plural(noun) == many


def test_a_verb_whose_forms_are_alike_is_no_mistake() -> None:
    rows = [row for row in _rows("acceptability", "train") if row["label"] == "unacceptable"]
    assert rows
    assert not [row for row in rows if re.search(r"\b(has|had|was|will|could|must)( \w+)? hurt\b", row["text"])]


def test_what_cannot_be_drawn_is_one_clear_line() -> None:
    with pytest.raises(UserError, match="did you mean 'topic'"):
        demo.describe("topik")
    with pytest.raises(UserError, match="unknown split 'dev'"):
        demo.rows("topic", split="dev")
    with pytest.raises(UserError, match="unknown split 'dev'"):
        demo.rows("topic", split="dev", size=3)
    with pytest.raises(UserError, match=r"size .* not 0"):
        demo.rows("topic", split="train", size=0)
    with pytest.raises(UserError, match=r"label noise .* not 1"):
        demo.rows("topic", split="train", size=3, label_noise=1.0)
    with pytest.raises(UserError, match=r"difficulty .* not 2"):
        demo.rows("topic", split="train", size=3, difficulty=2.0)
    with pytest.raises(UserError, match=r"seed .* not -1"):
        demo.rows("topic", split="train", size=3, seed=-1)


def test_more_rows_than_a_task_can_make_is_an_error() -> None:
    info = demo.describe("topic")
    task = DemoTask(info=info, draw=lambda rng, label, difficulty: {"text": f"{label} {rng.integers(200)}"})
    assert all(draw_rows(task, split=s, size=6, seed=0, label_noise=0, difficulty=0) for s in SPLITS)
    with pytest.raises(UserError, match="for 'test'; ask for fewer"):
        draw_rows(task, split="test", size=2000, seed=0, label_noise=0, difficulty=0)


def _task(name: str) -> DemoTask:
    import importlib

    task: DemoTask = importlib.import_module(f"autodelta.tasks.demo.{name}").TASK
    return task
