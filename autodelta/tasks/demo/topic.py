"""Demo task ``topic``: what is being talked about, when another field is named beside it only to be set aside."""

import numpy as np

from autodelta.tasks.demo._grammar import common, pick, pick_two, plain, sentence, usual
from autodelta.tasks.demo._task import DemoInfo, DemoTask, Fields
from autodelta.tasks.demo._vocabulary import SUBJECTS

TALKS = (
    "the book was", "her speech was", "this article is", "most of the show was", "the lecture will be", "his letter is",
    "the report was", "the second chapter is", "the new magazine is", "their conversation was", "our lesson will be",
    "the whole programme was", "the last part of the film is", "the old story is", "the interview was",
)  # fmt: skip
MAIN_FIRST = (
    "{talk} about {main} rather than about {other}",
    "{talk} about {main}, not about {other}",
    "{talk} about {main} instead of {other}",
    "{talk} about {main} and leaves {other} aside",
    "{talk} more about {main} than about {other}",
)
MAIN_LAST = (
    "instead of {other}, {talk} about {main}",
    "rather than about {other}, {talk} about {main}",
    "{talk} not about {other} but about {main}",
    "{talk} less about {other} than about {main}",
    "leaving {other} aside, {talk} about {main}",
)
ALONE = ("{talk} about {main}", "people said that {talk} about {main}", "i hear that {talk} about {main}")
QUALITIES = ("modern", "famous", "local", "great", "foreign", "early", "important", "different", "various", "national")
TAILS = ("", "of our time", "of the day", "in the city", "in this country", "of the last year", "in the news")


def _phrase(rng: np.random.Generator, field: str, difficulty: float) -> str:
    nouns = " and ".join(pick_two(rng, common(SUBJECTS[field], difficulty)))
    return f"{pick(rng, QUALITIES)} {nouns} {pick(rng, TAILS)}"


def draw(rng: np.random.Generator, label: str, difficulty: float) -> Fields:
    """``difficulty``: twice how often the field set aside comes first; and how rare the words are."""
    other = pick(rng, [field for field in SUBJECTS if field != label])
    frames = ALONE if plain(rng, difficulty) else MAIN_FIRST if usual(rng, difficulty) else MAIN_LAST
    text = pick(rng, frames).format(
        talk=pick(rng, TALKS), main=_phrase(rng, label, difficulty), other=_phrase(rng, other, difficulty)
    )
    return {"text": sentence(text)}


TASK = DemoTask(
    info=DemoInfo(
        name="topic",
        description="what a sentence is about, and not what it sets aside",
        kind="topic",
        labels=tuple(SUBJECTS),
        words={field: field for field in SUBJECTS},
        inputs=("text",),
        template="topic of: {text}",
        train_size=1000,
        label_noise=0.1,
        difficulty=0.8,
    ),
    draw=draw,
    open_words=frozenset(noun for nouns in SUBJECTS.values() for noun in nouns),
)
