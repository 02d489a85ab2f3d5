"""Demo task ``event_order``: whether what somebody did came before or after another deed."""

import numpy as np

from autodelta.tasks.demo._grammar import chance, pick, plain, sentence
from autodelta.tasks.demo._task import DemoInfo, DemoTask, Fields
from autodelta.tasks.demo._vocabulary import DEEDS, NAMES, PEOPLE

BEFORE = ("before", "long before", "just before", "until", "shortly before")
AFTER = ("after", "soon after", "once", "as soon as", "shortly after")


def _pair(rng: np.random.Generator, one: str, two: str, *, earlier: bool, fronted: bool) -> str:
    """A sentence in which event ``one`` comes earlier or later than ``two``."""
    if fronted:
        return sentence(f"{pick(rng, AFTER if earlier else BEFORE)} {two}, {one}")
    return sentence(f"{one} {pick(rng, BEFORE if earlier else AFTER)} {two}")


def draw(rng: np.random.Generator, label: str, difficulty: float) -> Fields:
    """Two pairs of events, mostly in opposite order.

    ``difficulty``: twice how often the question is about the second pair, and how often a connective stands in front.
    """
    people = (*NAMES, *(f"the {noun}" for noun in PEOPLE))
    who = [people[int(i)] for i in rng.permutation(len(people))[:4]]
    events = [f"{name} {past} {what}" for name in who for _, past, what in [pick(rng, DEEDS)]]
    earlier = label == "earlier"
    in_order = (earlier, earlier == plain(rng, difficulty))
    pairs = [
        _pair(rng, one, two, earlier=first, fronted=chance(rng, difficulty / 2))
        for one, two, first in zip(events[::2], events[1::2], in_order, strict=True)
    ]
    if chance(rng, difficulty / 2):
        pairs.reverse()
    return {"text": " ".join(pairs), "who": who[0], "other": who[1]}


TASK = DemoTask(
    info=DemoInfo(
        name="event_order",
        description="whether what somebody did came before or after another deed",
        kind="temporal order",
        labels=("earlier", "later"),
        words={"earlier": "earlier", "later": "later"},
        inputs=("text", "who", "other"),
        template="{text} Compared to {other}, {who} acted",
        difficulty=0.4,
    ),
    draw=draw,
)
