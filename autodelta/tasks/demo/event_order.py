"""Demo task ``event_order``: whether two events are told in the order in which they happened."""

import numpy as np

from autodelta.tasks.demo._grammar import pick, pick_two, sentence, usual
from autodelta.tasks.demo._task import DemoInfo, DemoTask, Fields
from autodelta.tasks.demo._vocabulary import DEEDS, NAMES, PEOPLE

BEFORE = ("before", "long before", "just before", "until", "shortly before")
AFTER = ("after", "soon after", "once", "as soon as", "shortly after")


OPENINGS = ("in the story of {thing}", "not far from {thing}", "near {thing}", "behind {thing}", "in sight of {thing}",
            "for the sake of {thing}", "speaking of {thing}")  # fmt: skip


def draw(rng: np.random.Generator, label: str, difficulty: float) -> Fields:
    """Usually the connective stands between the events and tells the order; else it stands in front and inverts it.

    ``difficulty``: twice how often it does, and twice how often other words stand before it.
    """
    people = (*NAMES, *(f"the {noun}" for noun in PEOPLE))
    one, two = (f"{who} {past} {what}" for who in pick_two(rng, people) for _, past, what in [pick(rng, DEEDS)])
    forward = label == "forward"
    if usual(rng, difficulty):
        text = f"{one} {pick(rng, BEFORE if forward else AFTER)} {two}"
    else:
        text = f"{pick(rng, AFTER if forward else BEFORE)} {one}, {two}"
    opening = "" if usual(rng, difficulty) else pick(rng, OPENINGS).format(thing=pick(rng, DEEDS)[2])
    return {"text": sentence(f"{opening} {text}")}


TASK = DemoTask(
    info=DemoInfo(
        name="event_order",
        description="whether two events are told in the order in which they happened",
        kind="temporal order",
        labels=("forward", "backward"),
        words={"forward": "later", "backward": "earlier"},
        inputs=("text",),
        template="{text} The second event came",
        train_size=1000,
        difficulty=0.9,
    ),
    draw=draw,
)
