"""Text-to-text examples made from the pretraining text: they teach the *format* (named fields in, a short answer out).

They share no generator, template, vocabulary or rule with the demo tasks, and no row with any labelled data set: every
question is about the surface of a passage that was cut from the corpus (is this phrase in it, do two passages come from
one document, which word is missing, are the words in their order, which word is first or last).
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase

Words = list[str]
Passage = Callable[[np.random.Generator, int], Words]
Example = tuple[str, str]

YES_NO = (("yes", "no"), ("true", "false"), ("correct", "wrong"))
TEXT_FIELDS = ("text", "passage", "sentence", "input")
PAIR_FIELDS = (("text 1", "text 2"), ("first", "second"), ("sentence1", "sentence2"), ("a", "b"))
END_OF_DOCUMENT = 1


def _pick(rng: np.random.Generator, choices: tuple[str, ...]) -> str:
    return choices[rng.integers(len(choices))]


def _answer(rng: np.random.Generator, positive: bool) -> tuple[str, str]:
    """The answer's word, and the hint that names both words."""
    pair = YES_NO[rng.integers(len(YES_NO))]
    return pair[0 if positive else 1], f"{pair[0]} or {pair[1]}?"


def contains_phrase(rng: np.random.Generator, passage: Passage) -> Example:
    """Does a phrase of two or three words stand in the passage?"""
    words = passage(rng, 40)
    positive = bool(rng.random() < 0.5)
    source = words if positive else passage(rng, 40)
    length = int(rng.integers(2, 4))
    at = int(rng.integers(max(1, len(source) - length)))
    phrase = " ".join(source[at : at + length])
    answer, hint = _answer(rng, phrase in " ".join(words))
    return f"contains {hint} phrase: {phrase} {_pick(rng, TEXT_FIELDS)}: {' '.join(words)}", answer


def same_document(rng: np.random.Generator, passage: Passage) -> Example:
    """Are two passages neighbours in one document?"""
    words = passage(rng, 60)
    positive = bool(rng.random() < 0.5)
    half = len(words) // 2
    other = words[half:] if positive else passage(rng, 30)
    one, two = PAIR_FIELDS[rng.integers(len(PAIR_FIELDS))]
    answer, hint = _answer(rng, positive)
    return f"same source {hint} {one}: {' '.join(words[:half])} {two}: {' '.join(other)}", answer


def missing_word(rng: np.random.Generator, passage: Passage) -> Example:
    """Which of two words fills the gap?"""
    words = passage(rng, 30)
    at = int(rng.integers(len(words)))
    wrong = passage(rng, 8)[0]
    options = [words[at], wrong]
    rng.shuffle(options)
    gap = [*words[:at], "_", *words[at + 1 :]]
    return f"fill the gap with {options[0]} or {options[1]} {_pick(rng, TEXT_FIELDS)}: {' '.join(gap)}", words[at]


def word_order(rng: np.random.Generator, passage: Passage) -> Example:
    """Are the words of a passage in their order, or shuffled?"""
    words = passage(rng, 16)
    positive = bool(rng.random() < 0.5)
    shown = words if positive else [words[n] for n in rng.permutation(len(words))]
    return f"order {_pick(rng, TEXT_FIELDS)}: {' '.join(shown)}", "natural" if positive else "shuffled"


def end_word(rng: np.random.Generator, passage: Passage) -> Example:
    """The first or the last word of a passage."""
    words = passage(rng, 24)
    first = bool(rng.random() < 0.5)
    return f"{'first' if first else 'last'} word {_pick(rng, TEXT_FIELDS)}: {' '.join(words)}", words[
        0 if first else -1
    ]


def repeat(rng: np.random.Generator, passage: Passage) -> Example:
    """The passage once more."""
    words = " ".join(passage(rng, 8))
    return f"repeat {_pick(rng, TEXT_FIELDS)}: {words}", words


MAKERS = (contains_phrase, same_document, same_document, missing_word, missing_word, word_order, end_word, repeat)


def _passages(tokens: NDArray[np.uint16], tokenizer: PreTrainedTokenizerBase) -> Passage:
    """Draws about so many words in a row from one document."""

    def draw(rng: np.random.Generator, words: int) -> Words:
        while True:
            start = int(rng.integers(len(tokens) - 2 * words))
            ids = tokens[start : start + 2 * words].tolist()
            if END_OF_DOCUMENT in ids:
                ids = ids[: ids.index(END_OF_DOCUMENT)]
            found: Words = str(tokenizer.decode(ids)).split()[1 : words + 1]
            if len(found) >= min(words, 6):
                return found

    return draw


def format_batches(
    tokens: NDArray[np.uint16], tokenizer: PreTrainedTokenizerBase, *, rows: int
) -> Callable[[np.random.Generator], tuple[Tensor, Tensor]]:
    """A function that makes one batch: inputs (rows, length) and targets (rows, target_length), padded with 0."""
    passage = _passages(tokens, tokenizer)

    def batch(rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        pairs = [MAKERS[rng.integers(len(MAKERS))](rng, passage) for _ in range(rows)]
        sides = [tokenizer(list(side))["input_ids"] for side in zip(*pairs, strict=True)]
        return _padded(sides[0]), _padded(sides[1])

    return batch


def _padded(rows: list[list[int]]) -> Tensor:
    out = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    for number, row in enumerate(rows):
        out[number, : len(row)] = torch.tensor(row)
    return out
