"""Text-to-text examples ask about passages of the text, and their answers are right."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from autodelta import backbones
from autodelta.backbones.pretrain import format_examples as examples
from autodelta.backbones.pretrain.passages import LEAST_SIGHTINGS, Passages
from autodelta.backbones.pretrain.word_sets import CONNECTIVES, WORDS, split

SENTENCES = (
    "the old mill by the river was good and the farmer was proud of its wheel.",
    "when the winter came the road was bad because the snow lay deep.",
    "many people walked to the village church although the evening was cold!",
    "she thought that the market was better before the railway came.",
    "he said that badness of weather hurt the harvest, but nobody asked why?",
)
MARK = "zebra"  # stands in one document only, in every sentence of it


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return PreTrainedTokenizerFast.from_pretrained(Path(backbones.__file__).parent / "nano")


@pytest.fixture(scope="module")
def tokens(tokenizer: Any) -> np.ndarray[Any, np.dtype[np.uint16]]:
    rng = np.random.default_rng(0)
    documents = [" ".join(rng.choice(SENTENCES, 8)) for _ in range(60)]
    documents.insert(30, " ".join(f"{MARK} {sentence}" for sentence in SENTENCES * 3))
    return np.concatenate([tokenizer(document)["input_ids"] for document in documents]).astype(np.uint16)


@pytest.fixture(scope="module")
def passages(tokens: Any, tokenizer: Any) -> Passages:
    return Passages(tokens, tokenizer)


def drawn(maker: examples.Maker, passages: Passages, count: int = 60) -> list[tuple[str, str]]:
    rng = np.random.default_rng(1)
    return [maker(rng, passages) for _ in range(count)]


def after_field(question: str) -> str:
    return question.split(": ", 1)[1]


def test_a_passage_stays_within_its_document(passages: Passages) -> None:
    rng = np.random.default_rng(2)
    for _ in range(300):
        words = passages.words(rng, 30)
        apart = [n for n, word in enumerate(words) if word == MARK]
        if apart:  # from its first mark on, such a passage never goes longer without one than a sentence is long
            assert max(np.diff([*apart, len(words)])) <= max(len(s.split()) for s in SENTENCES) + 1


def test_a_word_is_found_whole_only(passages: Passages, tokenizer: Any) -> None:
    assert len(passages.places("good")) >= LEAST_SIGHTINGS
    for word in ("bad", "good"):
        for at in passages.places(word):
            following = tokenizer.convert_ids_to_tokens(int(passages.tokens[at + 1]))
            assert following.startswith("▁") or not following.isalpha()
    assert passages.seen(("good", "bad", "terrible")) == ("good", "bad")


def test_the_sentence_around_a_word_is_its_own(passages: Passages) -> None:
    rng = np.random.default_rng(3)
    for _ in range(50):
        before, after = passages.around(rng, "good")
        assert before[-3:] == ["the", "river", "was"][-len(before[-3:]) :]
        assert after[:2] == ["and", "the"]


def test_the_word_that_was_taken_out_is_one_of_the_set_that_is_named(passages: Passages) -> None:
    for question, answer in drawn(examples.which_word, passages):
        named = question.split()[0]
        assert any(answer in line and named in line for line in split(WORDS))


def test_clauses_are_joined_by_a_connective_of_the_text(passages: Passages) -> None:
    known = {word for line in split(CONNECTIVES) for word in line}
    assert {answer for _, answer in drawn(examples.connective, passages)} <= known


def test_missing_words_are_gone_from_the_passage(passages: Passages) -> None:
    for question, answer in drawn(examples.missing_words, passages):
        assert 1 <= len(answer.split()) <= 3
        assert not set(answer.split()) & set(after_field(question).split())


@pytest.mark.parametrize("maker", [examples.same_words, examples.same_document, examples.contains_phrase])
def test_both_answers_of_a_yes_no_question_occur_about_equally_often(maker: examples.Maker, passages: Passages) -> None:
    yes = {pair[0] for pair in examples.YES_NO}
    answers = [answer in yes for _, answer in drawn(maker, passages, 200)]
    assert 0.3 < np.mean(answers) < 0.9  # in so small a text a foreign phrase is often there by chance


def test_a_worn_text_has_no_new_words_and_a_changed_one_has(passages: Passages) -> None:
    yes = {pair[0] for pair in examples.YES_NO}
    new = {True: 0, False: 0}
    for question, answer in drawn(examples.same_words, passages, 200):
        _, one, two = (part.split() for part in question.split(": "))
        new[answer in yes] += bool(set(two) - set(one))
    assert new[True] == 0
    assert new[False] > 20


def test_the_word_that_came_in_stands_in_the_second_text_alone(passages: Passages) -> None:
    for question, answer in drawn(examples.changed_word, passages, 100):
        _, first, second = (part.split() for part in question.split(": "))
        assert set(second) - set(first) == {answer}


def test_a_text_too_small_for_any_set_lends_two_words_of_its_own(tokenizer: Any) -> None:
    few = np.array(tokenizer("river mill " * 60)["input_ids"], np.uint16)
    answers = {answer for _, answer in drawn(examples.which_word, Passages(few, tokenizer))}
    assert answers == {"river", "mill"}


def test_a_batch_is_padded_and_the_same_for_the_same_seed(tokens: Any, tokenizer: Any) -> None:
    batch = examples.format_batches(tokens, tokenizer, rows=12)
    (inputs, targets), (again, _) = batch(np.random.default_rng(4)), batch(np.random.default_rng(4))
    assert inputs.shape[0] == targets.shape[0] == 12
    assert (inputs[:, 0] != 0).all()
    assert (targets != 0).any(dim=1).all()
    assert inputs.equal(again)


def test_the_shares_of_the_kinds_add_up_to_one() -> None:
    assert sum(examples.SHARES.values()) == pytest.approx(1)
