"""Demo task ``event_order``: whether two events are told in the order in which they happened."""

import numpy as np

from autodelta.tasks.demo._grammar import pick, pick_two, sentence, usual
from autodelta.tasks.demo._task import DemoInfo, DemoTask, Fields
from autodelta.tasks.demo._vocabulary import DEEDS, NAMES, PEOPLE

BEFORE = ("before", "long before", "just before", "until", "shortly before")
AFTER = ("after", "soon after", "once", "as soon as", "shortly after")


def draw(rng: np.random.Generator, label: str, difficulty: float) -> Fields:
    """Usually the connective stands between the events and tells the order; else it stands in front and inverts it."""
    people = (*NAMES, *(f"the {noun}" for noun in PEOPLE))
    one, two = (f"{who} {past} {what}" for who in pick_two(rng, people) for _, past, what in [pick(rng, DEEDS)])
    forward = label == "forward"
    if usual(rng, difficulty):
        return {"text": sentence(f"{one} {pick(rng, BEFORE if forward else AFTER)} {two}")}
    return {"text": sentence(f"{pick(rng, AFTER if forward else BEFORE)} {one}, {two}")}


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
        difficulty=0.7,
    ),
    draw=draw,
)
