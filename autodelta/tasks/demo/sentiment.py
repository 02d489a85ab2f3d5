"""Demo task ``sentiment``: the verdict of a review whose words of praise and of blame are contrasted or negated."""

import numpy as np

from autodelta.tasks.demo._grammar import chance, pick, pick_two, sentence
from autodelta.tasks.demo._task import DemoInfo, DemoTask, Fields
from autodelta.tasks.demo._vocabulary import CRITICISM, PRAISE, words

ASPECTS = words(
    "acting story music food service room film book hotel song show performance play view writing design meal concert"
    " weather garden ending picture dialogue voice lesson wine game plot tour stage camera painting"
)
DEGREES = ("", "", "very ", "really ", "quite ", "rather ", "simply ", "truly ")
PLAIN = (
    "the {one} was {degree}{stressed} and the {two} was {also}",
    "i think that the {one} was {degree}{stressed}, and so was the {two}: {also}",
    "what a {degree}{stressed} {one}, and what a {also} {two}",
)
CONTRASTS = (
    "although the {two} was {mild}{set_aside}, the {one} was {degree}{stressed}",
    "the {one} was {degree}{stressed}, although the {two} was {mild}{set_aside}",
    "the {two} was {mild}{set_aside}, but the {one} was {degree}{stressed}",
    "the {one} was {degree}{stressed}, even if the {two} was {mild}{set_aside}",
    "even if the {two} was {mild}{set_aside}, the {one} was {degree}{stressed}",
    "it is true that the {two} was {mild}{set_aside}, but the {one} was {degree}{stressed}",
    "people told us that the {one} was {mild}{set_aside}; in fact it was {degree}{stressed}",
    "we were afraid that the {one} was {mild}{set_aside}, but it was {degree}{stressed}",
)
NEGATIONS = (
    "the {one} was not {degree}{opposite}",
    "the {one} was never {degree}{opposite}",
    "nobody said that the {one} was {degree}{opposite}",
    "i do not think that the {one} was {degree}{opposite}",
    "it is not true that the {one} was {degree}{opposite}",
    "we could not say that the {one} was {degree}{opposite}",
)


def draw(rng: np.random.Generator, label: str, difficulty: float) -> Fields:
    """``difficulty`` is the share of rows with a contrast (two thirds of them) or a negation; the others are plain."""
    good = label == "positive"
    own, other = (PRAISE, CRITICISM) if good else (CRITICISM, PRAISE)
    one, two = pick_two(rng, ASPECTS)
    stressed, also = pick_two(rng, own)
    frames: tuple[str, ...] = PLAIN
    if chance(rng, difficulty):
        frames = CONTRASTS if chance(rng, 2 / 3) else NEGATIONS
    text = pick(rng, frames).format(
        one=one, two=two, degree=pick(rng, DEGREES), stressed=stressed, also=also,
        mild=pick(rng, DEGREES),
        set_aside=pick(rng, other), opposite=pick(rng, other),
    )  # fmt: skip
    return {"text": sentence(text)}


TASK = DemoTask(
    info=DemoInfo(
        name="sentiment",
        description="the verdict of a review with contrasts and negations",
        kind="sentiment",
        labels=("negative", "positive"),
        words={"negative": "bad", "positive": "good"},
        inputs=("text",),
        train_size=2000,
        template="review: {text} verdict:",
        difficulty=0.7,
    ),
    draw=draw,
    open_words=frozenset(PRAISE + CRITICISM),
)
