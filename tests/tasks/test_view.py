"""Views: templates, label words, and labels from values."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from autodelta.errors import UserError
from autodelta.tasks.view import View, default_template, default_words

NLI: dict[str, Any] = {
    "name": "rte",
    "inputs": ("sentence1", "sentence2"),
    "template": "rte sentence1: {sentence1} sentence2: {sentence2}",
    "labels": ("entailment", "not_entailment"),
    "words": {"entailment": "entailment", "not_entailment": "not entailment"},
    "metric": "accuracy",
}
SCORES = tuple(f"{number / 2:.1f}" for number in range(11))
SIMILARITY = NLI | {"labels": SCORES, "words": dict(zip(SCORES, SCORES, strict=True)), "metric": "pearson"}


def test_the_default_template_is_t5s() -> None:
    assert default_template("rte", ["sentence1", "sentence2"]) == NLI["template"]


def test_long_fields_go_last() -> None:
    made = default_template("mctaco", ["passage", "question", "answer"])
    assert made == "mctaco question: {question} answer: {answer} passage: {passage}"


def test_a_name_of_many_words_is_spelt_with_spaces() -> None:
    assert default_template("tweet_{hate}", ["text"]) == "tweet {{hate}} text: {text}"


def test_label_words_have_spaces_for_underscores() -> None:
    assert default_words(["not_entailment", "yes"]) == {"not_entailment": "not entailment", "yes": "yes"}


def test_choices_are_answered_by_their_number() -> None:
    assert default_words(["choice1", "choice2"]) == {"choice1": "1", "choice2": "2"}
    assert default_words(["choice1", "neither"]) == {"choice1": "choice1", "neither": "neither"}


def test_a_row_is_rendered_as_it_stands_braces_and_all() -> None:
    assert View(**NLI).render(["{sentence2}", "b }"]) == "rte sentence1: {sentence2} sentence2: b }"


def test_a_template_reads_no_attributes() -> None:
    view = View(**NLI | {"inputs": ("text.a", "x"), "template": "{text.a}"})
    assert view.render(["hello", "unused"]) == "hello"


def test_a_view_survives_json() -> None:
    view = View(**NLI)
    assert View.model_validate(json.loads(view.model_dump_json())) == view


def test_an_ordinal_value_becomes_the_nearest_label() -> None:
    view = View(**SIMILARITY)
    assert [view.label_of(value) for value in ("3.7", "3.8", "5", "0")] == ["3.5", "4.0", "5.0", "0.0"]
    for beyond in ("5.1", "-1", "high", "nan"):
        with pytest.raises(UserError, match="unknown label"):
            view.label_of(beyond)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"template": "rte {sentence3}"}, "unknown field in the template 'sentence3'; did you mean 'sentence2'"),
        ({"template": "rte {sentence1!r}"}, "must stand alone"),
        ({"template": "rte {sentence1"}, "not well formed"),
        ({"template": "rte"}, "shows no field"),
        ({"inputs": ("a", "a"), "template": "{a}"}, "inputs must be distinct"),
        (
            {"inputs": ("a:b",), "template": "a:b: {a:b}"},
            "an input's name must hold none of {}:!, .*: 'a:b'; rename it",
        ),
        ({"inputs": ("a}",), "template": "a}: {a}}"}, "an input's name must hold none of {}:!, .*: 'a}'; rename it"),
        ({"labels": ("yes", "yes")}, "labels must be distinct"),
        ({"words": {"entailment": "yes", "not_entailment": "yes"}}, "words must be distinct"),
        ({"words": {"entailment": "yes"}}, "no word for 'not_entailment'"),
        ({"words": NLI["words"] | {"neutral": "maybe"}}, "unknown label in words 'neutral'"),
        ({"metric": "f1"}, "unknown metric 'f1'"),
        ({"metric": "pearson"}, "needs labels that are numbers, not 'entailment'"),
        (
            {"metric": "pearson", "labels": ("1", "nan"), "words": {"1": "1", "nan": "-"}},
            "needs labels that are numbers, not 'nan'",
        ),
        (
            {"metric": "pearson", "labels": ("1", "2", "1.0"), "words": {"1": "a", "2": "b", "1.0": "c"}},
            "needs labels that are different numbers, not '1' and '1.0'",
        ),
    ],
)
def test_a_view_that_cannot_be_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        View(**NLI | change)
