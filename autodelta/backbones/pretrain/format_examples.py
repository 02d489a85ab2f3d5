"""Text-to-text examples made from the pretraining text: named fields in, a short answer out.

They teach the *format*, and to gather an answer from the whole of an input: gaps of span corruption are filled from
their neighbourhood, and a backbone that has seen nothing else hardly looks further when it is fine-tuned
(docs/decisions/0006-pretraining-nano.md). They share no generator, template or rule with the demo tasks, and no row
with any labelled data set: every question is about a passage that was cut from the corpus.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from autodelta.backbones.pretrain.passages import Passages, Words
from autodelta.backbones.pretrain.word_sets import CONNECTIVES, WORDS, split

Example = tuple[str, str]
Maker = Callable[[np.random.Generator, Passages], Example]

YES_NO = (("yes", "no"), ("true", "false"), ("correct", "wrong"))
TEXT_FIELDS = ("text", "passage", "sentence", "input")
PAIR_FIELDS = (("text 1", "text 2"), ("first", "second"), ("sentence1", "sentence2"), ("a", "b"))


def _pick(rng: np.random.Generator, choices: tuple[str, ...]) -> str:
    return choices[rng.integers(len(choices))]


def _answer(rng: np.random.Generator, positive: bool) -> tuple[str, str]:
    """The answer's word, and the hint that names both words."""
    pair = YES_NO[rng.integers(len(YES_NO))]
    return pair[0 if positive else 1], f"{pair[0]} or {pair[1]}?"


def which_word(rng: np.random.Generator, passages: Passages) -> Example:
    """A word was taken out of a sentence, sometimes without a mark: which of a set was it?"""
    choices = _drawn_set(rng, passages, WORDS)
    word = _pick(rng, choices)
    before, after = passages.around(rng, word)
    gap = ["_"] if rng.random() < 0.5 else []
    shown = " ".join([*before, *gap, *after])
    return f"{' '.join(choices[:4])} {_pick(rng, TEXT_FIELDS)}: {shown}", word


def connective(rng: np.random.Generator, passages: Passages) -> Example:
    """Which word joined two clauses?"""
    word = _pick(rng, _drawn_set(rng, passages, CONNECTIVES))
    before, after = passages.around(rng, word)
    one, two = PAIR_FIELDS[rng.integers(len(PAIR_FIELDS))]
    return f"joined by {one}: {' '.join(before)} {two}: {' '.join(after)}", word


def _drawn_set(rng: np.random.Generator, passages: Passages, sets: tuple[str, ...]) -> tuple[str, ...]:
    """One of the sets, as far as the text holds it; a text too small for all of them lends two words of its own."""
    candidates = split(sets)
    for number in rng.permutation(len(candidates)):
        seen = passages.seen(candidates[number])
        if len(seen) > 1:
            return seen
    return passages.two_frequent


def missing_words(rng: np.random.Generator, passages: Passages) -> Example:
    """What a passage is about, from what is left of it: up to three content words, gone without a mark."""
    words = passages.words(rng, int(rng.integers(8, 41)))
    contents = passages.contents(words)
    chosen = {contents[n] for n in rng.permutation(len(contents))[: int(rng.integers(1, 4))]}
    left = [word for word in words if word not in chosen]
    return f"about {_pick(rng, TEXT_FIELDS)}: {' '.join(left)}", " ".join(w for w in contents if w in chosen)


def same_words(rng: np.random.Generator, passages: Passages) -> Example:
    """Is one text the other with words lost and moved, or did what it says change?"""
    words = passages.words(rng, int(rng.integers(6, 21)))
    positive = bool(rng.random() < 0.5)
    other = list(words)
    if not positive:
        contents, foreign = passages.contents(words), tuple(passages.contents(passages.words(rng, 40)))
        for word in (contents[n] for n in rng.permutation(len(contents))[: int(rng.integers(1, 4))]):
            other[other.index(word)] = _pick(rng, foreign)
    one, two = PAIR_FIELDS[rng.integers(len(PAIR_FIELDS))]
    answer, hint = _answer(rng, positive)
    return f"same {hint} {one}: {' '.join(words)} {two}: {' '.join(_worn(rng, other))}", answer


def _worn(rng: np.random.Generator, words: Words) -> Words:
    """The words with a few lost and, now and then, two neighbours or two halves in the other order."""
    kept = [word for word in words if rng.random() > 0.15] or words
    if rng.random() < 0.3:
        half = len(kept) // 2
        kept = kept[half:] + kept[:half]
    for at in range(len(kept) - 1):
        if rng.random() < 0.1:
            kept[at], kept[at + 1] = kept[at + 1], kept[at]
    return kept


def changed_word(rng: np.random.Generator, passages: Passages) -> Example:
    """Which word of the second text took the place of another of the first? Both are worn."""
    words = passages.words(rng, int(rng.integers(6, 21)))
    new = _pick(rng, tuple(w for w in passages.contents(passages.words(rng, 20)) if w not in words) or ("nothing",))
    contents = passages.contents(words)
    other = list(words)
    other[words.index(contents[rng.integers(len(contents))])] = new
    shown = [word for word in other if word == new or rng.random() > 0.15]
    one, two = PAIR_FIELDS[rng.integers(len(PAIR_FIELDS))]
    return f"changed {one}: {' '.join(words)} {two}: {' '.join(shown)}", new


def contains_phrase(rng: np.random.Generator, passages: Passages) -> Example:
    """Does a phrase of one to three words stand in the passage?"""
    words = passages.words(rng, 30)
    positive = bool(rng.random() < 0.5)
    source = words if positive else passages.words(rng, 30)
    length = int(rng.integers(1, 4))
    at = int(rng.integers(max(1, len(source) - length)))
    phrase = " ".join(source[at : at + length])
    answer, hint = _answer(rng, phrase in " ".join(words))
    return f"contains {hint} phrase: {phrase} {_pick(rng, TEXT_FIELDS)}: {' '.join(words)}", answer


def same_document(rng: np.random.Generator, passages: Passages) -> Example:
    """Are two passages neighbours in one document?"""
    words = passages.words(rng, int(rng.integers(20, 61)))
    positive = bool(rng.random() < 0.5)
    half = len(words) // 2
    other = words[half:] if positive else passages.words(rng, len(words) - half)
    one, two = PAIR_FIELDS[rng.integers(len(PAIR_FIELDS))]
    answer, hint = _answer(rng, positive)
    return f"same source {hint} {one}: {' '.join(words[:half])} {two}: {' '.join(other)}", answer


def missing_word(rng: np.random.Generator, passages: Passages) -> Example:
    """Which of two words fills the gap?"""
    words = passages.words(rng, 30)
    at = int(rng.integers(len(words)))
    options = [words[at], passages.words(rng, 8)[0]]
    rng.shuffle(options)
    gap = [*words[:at], "_", *words[at + 1 :]]
    return f"fill the gap with {options[0]} or {options[1]} {_pick(rng, TEXT_FIELDS)}: {' '.join(gap)}", words[at]


def word_order(rng: np.random.Generator, passages: Passages) -> Example:
    """Are the words of a passage as they were, or were all shuffled, two swapped, or one replaced?"""
    words = passages.words(rng, int(rng.integers(6, 17)))
    if rng.random() < 0.5:
        return f"order {_pick(rng, TEXT_FIELDS)}: {' '.join(words)}", "natural"
    kind = rng.integers(3)
    one, two = rng.choice(len(words), size=2, replace=False)
    if kind == 0:
        words = [words[n] for n in rng.permutation(len(words))]
    elif kind == 1:
        words[one], words[two] = words[two], words[one]
    else:
        words[one] = passages.words(rng, 8)[0]
    return f"order {_pick(rng, TEXT_FIELDS)}: {' '.join(words)}", "shuffled" if kind < 2 else "changed"


def end_word(rng: np.random.Generator, passages: Passages) -> Example:
    """The first or the last word of a passage."""
    words = passages.words(rng, 24)
    first = bool(rng.random() < 0.5)
    return f"{'first' if first else 'last'} word {_pick(rng, TEXT_FIELDS)}: {' '.join(words)}", words[
        0 if first else -1
    ]


def repeat(rng: np.random.Generator, passages: Passages) -> Example:
    """The passage once more."""
    words = " ".join(passages.words(rng, 8))
    return f"repeat {_pick(rng, TEXT_FIELDS)}: {words}", words


SHARES: dict[Maker, float] = {
    which_word: 0.28,
    missing_words: 0.17,
    same_words: 0.15,
    connective: 0.08,
    changed_word: 0.08,
    same_document: 0.08,
    word_order: 0.05,
    missing_word: 0.04,
    contains_phrase: 0.04,
    end_word: 0.015,
    repeat: 0.015,
}


def format_batches(
    tokens: NDArray[np.uint16], tokenizer: PreTrainedTokenizerBase, *, rows: int
) -> Callable[[np.random.Generator], tuple[Tensor, Tensor]]:
    """A function that makes one batch: inputs (rows, length) and targets (rows, target_length), padded with 0."""
    passages = Passages(tokens, tokenizer)
    makers, shares = list(SHARES), list(SHARES.values())

    def batch(rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        pairs = [makers[n](rng, passages) for n in rng.choice(len(makers), size=rows, p=shares)]
        sides = [tokenizer(list(side))["input_ids"] for side in zip(*pairs, strict=True)]
        return _padded(sides[0]), _padded(sides[1])

    return batch


def _padded(rows: list[list[int]]) -> Tensor:
    out = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    for number, row in enumerate(rows):
        out[number, : len(row)] = torch.tensor(row)
    return out
