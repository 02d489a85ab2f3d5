"""Words into English: verb forms, plurals, articles, sentences, and random choice among them."""

import math
import re
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import numpy as np

T = TypeVar("T")
BEFORE_A_MARK = re.compile(r" (?=[,;])")
BEFORE_A_VOWEL = re.compile(r"\ba (?=[aeio]|u(?!ni|se)|hour|honest)")
VOWELS = "aeiou"
IRREGULAR_PLURALS = {"man": "men", "gentleman": "gentlemen", "woman": "women", "child": "children", "wife": "wives",
                     "knife": "knives", "sheep": "sheep", "wolf": "wolves", "thief": "thieves", "mouse": "mice",
                     "foot": "feet", "shelf": "shelves", "leaf": "leaves", "radio": "radios",
                     "piano": "pianos"}  # fmt: skip


class Verb(NamedTuple):
    """The four forms of an English verb."""

    base: str
    third: str
    past: str
    participle: str


def verb(text: str) -> Verb:
    """``chase`` (regular), or ``write wrote written`` with its past and participle."""
    base, *irregular = text.split()
    stem = base[:-1] if base.endswith("e") and not base.endswith("ee") else base
    soft = base.endswith("y") and base[-2] not in VOWELS
    past = base[:-1] + "ied" if soft else stem + "ed"
    if irregular:
        past = irregular[0]
    return Verb(base, _with_s(base), past, irregular[-1] if irregular else past)


def verbs(text: str) -> tuple[Verb, ...]:
    """Verbs from a list divided by commas."""
    return tuple(verb(part.strip()) for part in text.split(","))


def _with_s(word: str) -> str:
    if word.endswith("y") and word[-2] not in VOWELS:
        return word[:-1] + "ies"
    return word + ("es" if word.endswith(("s", "sh", "ch", "x", "z", "o")) else "s")


def plural(noun: str) -> str:
    """The plural of a noun."""
    return IRREGULAR_PLURALS.get(noun) or _with_s(noun)


def sentence(text: str, end: str = ".") -> str:
    """The text as a sentence: single spaces, "an" before a vowel's sound, a capital letter, a closing mark."""
    text = BEFORE_A_VOWEL.sub("an ", BEFORE_A_MARK.sub("", " ".join(text.split())))
    return text[0].upper() + text[1:] + end


def pick(rng: np.random.Generator, choices: Sequence[T]) -> T:
    """One of the choices."""
    return choices[int(rng.integers(len(choices)))]


def common(choices: Sequence[T], difficulty: float) -> Sequence[T]:
    """The beginning of a list that runs from frequent to rare: two fifths of it at difficulty 0, all of it at 1."""
    return choices[: math.ceil(len(choices) * (0.4 + 0.6 * difficulty))]


def plain(rng: np.random.Generator, difficulty: float) -> bool:
    """Whether a row shall hold nothing that misleads: half of the rows at difficulty 0, none at 1.

    A model learns from these what the words mean; without them neither words nor structure give any signal alone, and
    a small backbone learns neither.
    """
    return chance(rng, (1 - difficulty) / 2)


def usual(rng: np.random.Generator, difficulty: float) -> bool:
    """Whether a row follows the order that most rows follow: all rows at difficulty 0, half of them at 1.

    Where the label depends on two things at once, the usual order lets a model learn the one before the other.
    """
    return chance(rng, 1 - difficulty / 2)


def pick_two(rng: np.random.Generator, choices: Sequence[T]) -> tuple[T, T]:
    """Two different choices, in random order."""
    first, second = rng.choice(len(choices), size=2, replace=False)
    return choices[int(first)], choices[int(second)]


def chance(rng: np.random.Generator, share: float) -> bool:
    """True with this probability."""
    return bool(rng.random() < share)
