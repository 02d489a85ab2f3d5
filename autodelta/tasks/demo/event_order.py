"""Demo task ``event_order``: whether two events are told in the order in which they happened."""

import numpy as np

from autodelta.tasks.demo._grammar import chance, pick, pick_two, sentence
from autodelta.tasks.demo._task import DemoInfo, DemoTask, Fields
from autodelta.tasks.demo._vocabulary import DEEDS, NAMES, PEOPLE

OPENINGS = ("in the story of {thing} ", "not far from {thing} ", "near {thing} ", "for the sake of {thing} ",
            "behind {thing} ", "in sight of {thing} ", "for {thing} ")  # fmt: skip
FRAMES = {
    "forward": ("{one} before {two}", "{one} long before {two}", "{one} just before {two}", "{one} until {two}",
                "after {one}, {two}", "soon after {one}, {two}", "once {one}, {two}", "as soon as {one}, {two}"),
    "backward": ("before {one}, {two}", "long before {one}, {two}", "just before {one}, {two}", "until {one}, {two}",
                 "{one} after {two}", "{one} soon after {two}", "{one} once {two}", "{one} as soon as {two}"),
}  # fmt: skip
"""Every connective stands in both classes: only with its place does it tell the order."""


def _event(rng: np.random.Generator, who: str) -> str:
    _, past, what = pick(rng, DEEDS)
    return f"{who} {past} {what}"


def _who(rng: np.random.Generator) -> tuple[str, str]:
    one, two = pick_two(rng, PEOPLE) if chance(rng, 0.6) else pick_two(rng, NAMES)
    return (one, two) if one[0].isupper() else (f"the {one}", f"the {two}")


def draw(rng: np.random.Generator, label: str, difficulty: float) -> Fields:
    """``difficulty``: how often words stand before the sentence and so hide where its first clause begins."""
    one, two = (_event(rng, who) for who in _who(rng))
    text = pick(rng, FRAMES[label]).format(one=one, two=two)
    opening = pick(rng, OPENINGS).format(thing=pick(rng, DEEDS)[2]) if chance(rng, 2 * difficulty) else ""
    return {"text": sentence(opening + text)}


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
    ),
    draw=draw,
)
