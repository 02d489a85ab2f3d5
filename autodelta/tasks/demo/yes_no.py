"""Demo task ``yes_no``: questions on a short passage in which two people do not share their facts."""

import numpy as np

from autodelta.tasks.demo._grammar import chance, pick, pick_two, sentence
from autodelta.tasks.demo._task import DemoInfo, DemoTask, Fields
from autodelta.tasks.demo._vocabulary import (
    ANIMALS,
    BUILDINGS,
    CITIES,
    COUNTRIES,
    FOODS,
    INSTRUMENTS,
    JOBS,
    MONTHS,
    NAMES,
    SPORTS,
    THINGS,
)

FACTS = (
    ("{name} lives in {value}", "does {name} live in {value}", CITIES),
    ("{name} comes from {value}", "does {name} come from {value}", COUNTRIES),
    ("{name} works as a {value}", "does {name} work as a {value}", JOBS),
    ("{name} is in the {value}", "is {name} in the {value}", BUILDINGS),
    ("{name} bought a {value}", "did {name} buy a {value}", THINGS),
    ("{name} plays the {value}", "does {name} play the {value}", INSTRUMENTS),
    ("{name} plays {value}", "does {name} play {value}", SPORTS),
    ("{name} was born in {value}", "was {name} born in {value}", MONTHS),
    ("{name} likes {value}", "does {name} like {value}", FOODS),
    ("{name} owns a {value}", "does {name} own a {value}", ANIMALS),
)
"""A statement, the question that goes with it, and the values that it takes."""


def draw(rng: np.random.Generator, label: str, difficulty: float) -> Fields:
    """``difficulty``: how often a question to be denied asks for the other person's fact, and not for an absent one."""
    statement, question, values = pick(rng, FACTS)
    name, other = pick_two(rng, NAMES)
    order = rng.permutation(len(values))[:3]
    own, others, absent = (values[int(i)] for i in order)
    facts = [statement.format(name=name, value=own), statement.format(name=other, value=others)]
    facts = [facts[int(i)] for i in rng.permutation(2)]
    asked = own if label == "yes" else others if chance(rng, difficulty) else absent
    return {
        "text": " ".join(sentence(fact) for fact in facts),
        "question": sentence(question.format(name=name, value=asked), "?"),
    }


TASK = DemoTask(
    info=DemoInfo(
        name="yes_no",
        description="yes/no questions on a short passage",
        kind="question answering",
        labels=("no", "yes"),
        words={"no": "no", "yes": "yes"},
        inputs=("text", "question"),
        template="{text} {question}",
    ),
    draw=draw,
)
