"""Demo task ``sentiment``: the verdict of a review whose words of praise and of blame are contrasted or denied."""

import numpy as np

from autodelta.tasks.demo._grammar import chance, common, pick, pick_two, plain, sentence, usual
from autodelta.tasks.demo._task import DemoInfo, DemoTask, Fields
from autodelta.tasks.demo._vocabulary import CRITICISM, PRAISE, words

ASPECTS = words(
    "acting story music food service room film book hotel song show performance play view writing design meal concert"
    " weather garden ending picture dialogue voice lesson wine game plot tour stage camera painting"
)
DEGREES = ("", "", "very ", "really ", "quite ", "rather ", "simply ", "truly ")
TAILS = ("", "for us", "for everybody", "in the end", "that evening", "as they say", "this year", "from the start")
PLAIN = (
    "the {one} was {degree}{stressed} {tail} and the {two} was {also} {also_tail}",
    "i think that the {one} was {degree}{stressed} {tail}, and so was the {two}: {also} {also_tail}",
    "what a {degree}{stressed} {one} {tail}, and what a {also} {two} {also_tail}",
)
STRESSED_LAST = (
    "although the {two} was {mild}{aside} {also_tail}, the {one} was {degree}{stressed} {tail}",
    "the {two} was {mild}{aside} {also_tail}, but the {one} was {degree}{stressed} {tail}",
    "even if the {two} was {mild}{aside} {also_tail}, the {one} was {degree}{stressed} {tail}",
    "it is true that the {two} was {mild}{aside} {also_tail}, but the {one} was {degree}{stressed} {tail}",
    "people told us that the {one} was {mild}{aside} {also_tail}; in fact it was {degree}{stressed} {tail}",
    "we were afraid that the {one} was {mild}{aside} {also_tail}, but it was {degree}{stressed} {tail}",
)
STRESSED_FIRST = (
    "the {one} was {degree}{stressed} {tail}, although the {two} was {mild}{aside} {also_tail}",
    "the {one} was {degree}{stressed} {tail}, even if the {two} was {mild}{aside} {also_tail}",
    "the {one} was {degree}{stressed} {tail} and not, as people told us, {mild}{aside} {also_tail}",
    "the {one} was {degree}{stressed} {tail}, whereas we had thought that it was {mild}{aside} {also_tail}",
)
DENIED = (
    "the {one} was not {degree}{aside} {tail}",
    "the {one} was never {degree}{aside} {tail}",
    "nobody said that the {one} was {degree}{aside} {tail}",
    "i do not think that the {one} was {degree}{aside} {tail}",
    "it is not true that the {one} was {degree}{aside} {tail}",
    "we could not say that the {one} was {degree}{aside} {tail}",
)


def _frames(rng: np.random.Generator, difficulty: float) -> tuple[str, ...]:
    if plain(rng, difficulty):
        return PLAIN
    if chance(rng, difficulty / 4):
        return DENIED
    return STRESSED_LAST if usual(rng, difficulty) else STRESSED_FIRST


def draw(rng: np.random.Generator, label: str, difficulty: float) -> Fields:
    """``difficulty``: how often the verdict comes first, or denies its contrary; and how rare the words are."""
    praise, criticism = common(PRAISE, difficulty), common(CRITICISM, difficulty)
    own, contrary = (praise, criticism) if label == "positive" else (criticism, praise)
    one, two = pick_two(rng, ASPECTS)
    stressed, also = pick_two(rng, own)
    text = pick(rng, _frames(rng, difficulty)).format(
        one=one, two=two, degree=pick(rng, DEGREES), mild=pick(rng, DEGREES),
        stressed=stressed, also=also, tail=pick(rng, TAILS), also_tail=pick(rng, TAILS), aside=pick(rng, contrary),
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
        template="review: {text} verdict:",
        difficulty=0.4,
    ),
    draw=draw,
    open_words=frozenset(PRAISE + CRITICISM),
)
