"""Demo task ``relation``: what the first person asked about is to the second, in three fields and two directions."""

import numpy as np

from autodelta.tasks.demo._grammar import chance, pick, pick_two, sentence
from autodelta.tasks.demo._task import DemoInfo, DemoTask, Fields
from autodelta.tasks.demo._vocabulary import MEN, NAMES

SENIOR_FIRST = {
    "family": ("{up} brought up {down}", "{up} had a child, {down}", "{up} named the baby {down}",
               "{up} raised {down} at home", "{up} rocked little {down} to sleep",
               "{up} put young {down} to bed"),
    "school": ("{up} taught {down} history", "{up} gave lessons to {down}", "{up} wrote a school report on {down}",
               "{up} taught a class in which {down} sat", "{up} explained grammar to {down}",
               "{up} marked the examination of {down}"),
    "work": ("{up} hired {down}", "{up} employs {down} in the factory", "{up} pays the wages of {down}",
             "{up} gave a job to {down}", "{up} runs the office where {down} works", "{up} promoted {down}"),
}  # fmt: skip
JUNIOR_FIRST = {
    "family": ("{down} was brought up by {up}", "{down} was born to {up}", "{down} grew up in the arms of {up}",
               "{down} was raised at home by {up}", "{down} is the eldest born of {up}",
               "{down} was put to bed by {up}"),
    "school": ("{down} was taught history by {up}", "{down} took lessons from {up}", "{down} studied under {up}",
               "{down} sat in the class of {up}", "{down} learned grammar from {up}",
               "{down} passed the examination set by {up}"),
    "work": ("{down} was hired by {up}", "{down} is employed in the factory of {up}", "{down} gets wages from {up}",
             "{down} was given a job by {up}", "{down} works in the office of {up}", "{down} was promoted by {up}"),
}  # fmt: skip
LABELS = {("family", True): "parent", ("family", False): "child", ("school", True): "teacher",
          ("school", False): "student", ("work", True): "boss", ("work", False): "worker"}  # fmt: skip
OPENINGS = ("", "", "in those years ", "as everybody knew, ", "in the same town ", "it is said that ", "by then ")


def draw(rng: np.random.Generator, label: str, difficulty: float) -> Fields:
    """``difficulty``: how often the sentence names the two people in the other order than the question does."""
    field, senior = next(key for key, value in LABELS.items() if value == label)
    asked, other = pick_two(rng, NAMES)
    up, down = (asked, other) if senior else (other, asked)
    swapped = chance(rng, difficulty)
    frames = SENIOR_FIRST if senior != swapped else JUNIOR_FIRST
    text = pick(rng, OPENINGS) + pick(rng, frames[field]).format(up=up, down=down)
    return {"text": sentence(text), "first": asked, "second": other}


TASK = DemoTask(
    info=DemoInfo(
        name="relation",
        description="what one person in a sentence is to another",
        kind="relation",
        labels=tuple(LABELS.values()),
        words={label: label for label in LABELS.values()},
        inputs=("text", "first", "second"),
        template="{text} To {second}, {first} is the",
    ),
    draw=draw,
    open_words=frozenset(name.lower() for name in MEN[::2]),
)
