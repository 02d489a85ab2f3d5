"""Demo task ``relation``: what the first person of a sentence is to another, told by its main verb and voice.

A relative clause names a second relation, of another field, that is not asked for.
"""

import numpy as np

from autodelta.tasks.demo._grammar import Verb, chance, pick, plain, sentence, usual, verbs
from autodelta.tasks.demo._task import DemoInfo, DemoTask, Fields
from autodelta.tasks.demo._vocabulary import NAMES

FIELDS = {
    "school": verbs("teach taught, educate, instruct"),
    "sport": verbs("train, coach, select"),
    "home": verbs("invite, welcome, entertain"),
}
LABELS = {("school", True): "teacher", ("school", False): "student", ("sport", True): "coach",
          ("sport", False): "player", ("home", True): "host", ("home", False): "guest"}  # fmt: skip
"""By field, and by whether the person asked about is the one who acts."""

ADVERBS = ("often", "once", "in those years", "as we know", "at that time", "soon", "later", "in the city",
           "for a while", "in the old days", "during the war", "with great care")  # fmt: skip
MAIN_FIRST = (
    "{first} {main} {second}, who {other} {third}",
    "{first} was rich and {main} {second}, who {other} {third}",
    "we heard that {first} {main} {second}, whereas {second} {other} {third}",
)
MAIN_LAST = (
    "{first}, who {other} {third}, {main} {second}",
    "{first}, who {other} {third} and was rich, {main} {second}",
)
ALONE = ("{first} {main} {second}", "we heard that {first} {main} {second}", "{first} was rich and {main} {second}")


def _predicate(rng: np.random.Generator, verb: Verb, acts: bool) -> str:
    return f"{pick(rng, ADVERBS)} {verb.past if acts else f'was {verb.participle} by'}"


def draw(rng: np.random.Generator, label: str, difficulty: float) -> Fields:
    """``difficulty``: twice how often the main clause ends last; above 0.5, some questions turn the people round."""
    field, acts = next(key for key, value in LABELS.items() if value == label)
    turned = chance(rng, difficulty - 0.5)
    other = pick(rng, [name for name in FIELDS if name != field])
    first, second, third = (NAMES[int(i)] for i in rng.permutation(len(NAMES))[:3])
    frames = ALONE if plain(rng, difficulty) else MAIN_FIRST if usual(rng, difficulty) else MAIN_LAST
    text = pick(rng, frames).format(
        first=first, second=second, third=third,
        main=_predicate(rng, pick(rng, FIELDS[field]), acts != turned),
        other=_predicate(rng, pick(rng, FIELDS[other]), chance(rng, 0.5)),
    )  # fmt: skip
    asked, to = (second, first) if turned else (first, second)
    return {"text": sentence(text), "first": asked, "second": to}


TASK = DemoTask(
    info=DemoInfo(
        name="relation",
        description="what one person in a sentence is to another",
        kind="relation",
        labels=tuple(LABELS.values()),
        words={label: label for label in LABELS.values()},
        inputs=("text", "first", "second"),
        template="{text} To {second}, {first} is the",
        difficulty=0.4,
    ),
    draw=draw,
)
