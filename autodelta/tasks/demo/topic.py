"""Demo task ``topic``: what is being talked about, when another field is named beside it only to be set aside."""

import numpy as np

from autodelta.tasks.demo._grammar import chance, pick, pick_two, sentence
from autodelta.tasks.demo._task import DemoInfo, DemoTask, Fields
from autodelta.tasks.demo._vocabulary import SUBJECTS

TALKS = (
    "the book was", "her speech was", "this article is", "most of the show was", "the lecture will be", "his letter is",
    "the report was", "the second chapter is", "the new magazine is", "their conversation was", "our lesson will be",
    "the whole programme was", "the last part of the film is", "the old story is", "the interview was",
)  # fmt: skip
FRAMES = (
    "{talk} about {main} rather than about {other}",
    "{talk} about {main}, not about {other}",
    "{talk} about {main} instead of {other}",
    "{talk} about {main} and leaves {other} aside",
    "{talk} more about {main} than about {other}",
    "instead of {other}, {talk} about {main}",
    "rather than about {other}, {talk} about {main}",
    "{talk} not about {other} but about {main}",
    "{talk} less about {other} than about {main}",
    "leaving {other} aside, {talk} about {main}",
)
PLAIN_FRAMES = ("{talk} about {main}", "people said that {talk} about {main}", "i hear that {talk} about {main}")
QUALITIES = ("modern", "famous", "local", "great", "foreign", "early", "important", "different", "various", "national")


def _phrase(rng: np.random.Generator, field: str, nouns: int) -> str:
    named = pick_two(rng, SUBJECTS[field])[:nouns]
    return f"{pick(rng, QUALITIES)} {' and '.join(named)}"


def draw(rng: np.random.Generator, label: str, difficulty: float) -> Fields:
    """Below 0.5 some rows name no other field; above, some give one noun to the right field and two to the other."""
    other = pick(rng, [field for field in SUBJECTS if field != label])
    frame = pick(rng, FRAMES if chance(rng, 2 * difficulty) else PLAIN_FRAMES)
    uneven = chance(rng, 2 * difficulty - 1)
    main = _phrase(rng, label, 1 if uneven else 2)
    return {"text": sentence(frame.format(talk=pick(rng, TALKS), main=main, other=_phrase(rng, other, 2)))}


TASK = DemoTask(
    info=DemoInfo(
        name="topic",
        description="what a sentence is about, and not what it sets aside",
        kind="topic",
        labels=tuple(SUBJECTS),
        words={field: field for field in SUBJECTS},
        inputs=("text",),
        template="topic of: {text}",
        train_size=1200,
    ),
    draw=draw,
    open_words=frozenset(noun for nouns in SUBJECTS.values() for noun in nouns),
)
