"""Demo task ``coreference``: whom or what a pronoun means, told by gender, number and life."""

import numpy as np

from autodelta.tasks.demo._grammar import chance, common, pick, pick_two, plural, sentence, usual
from autodelta.tasks.demo._task import DemoInfo, DemoTask, Fields
from autodelta.tasks.demo._vocabulary import MEN, THINGS, VEHICLES, WOMEN, words

MALES = tuple(f"the {noun}" for noun in words("king boy man father brother prince gentleman son husband uncle priest"))
FEMALES = tuple(
    f"the {noun}" for noun in words("queen girl woman mother sister princess lady daughter wife aunt actress")
)
CROWD = words("soldier student farmer child player worker sailor guest prisoner nurse lawyer visitor teacher")
KINDS = {"he": MALES + MEN, "she": FEMALES + WOMEN, "it": tuple(f"the {noun}" for noun in THINGS + VEHICLES),
         "they": tuple(f"the {plural(noun)}" for noun in CROWD)}  # fmt: skip
PERSONAL = ("he", "she", "they")
PAST_BE = {"they": "were"}
STORIES = (
    "{one} could not move {two}", "{one} stood next to {two}", "{one} had been too far from {two}",
    "{one} had hurt {two}", "{one} came before {two}", "{one} would be nothing without {two}",
    "{one} remained with {two}", "{one} fell on {two}", "{one} had been found beside {two}",
    "{one} stayed behind {two}",
)  # fmt: skip
REASONS = (
    "because {it} {was} too weak", "when {it} {was} new in the city", "until {it} {was} taken away",
    "because {it} {was} very old", "and then {it} disappeared", "but {it} {was} soon forgotten",
    "before {it} arrived at the station", "and later {it} {was} brought home", "because {it} came too late",
    "although {it} {was} small", "but nobody knew where {it} {was}",
)  # fmt: skip


TAILS = ("", "", "at the gate", "in the garden", "on the road", "near the river", "in the hall", "that night")


def draw(rng: np.random.Generator, label: str, difficulty: float) -> Fields:
    """Usually a person comes first and a thing second; else the thing comes first, or both are people."""
    people = chance(rng, difficulty / 4)
    kinds = list(pick_two(rng, PERSONAL)) if people else [pick(rng, PERSONAL), "it"]
    if not people and not usual(rng, difficulty):
        kinds.reverse()
    one, two = (f"{pick(rng, common(KINDS[kind], difficulty))} {pick(rng, TAILS)}" for kind in kinds)
    meant = kinds[0 if label == "first" else 1]
    reason = pick(rng, REASONS).format(it=meant, was=PAST_BE.get(meant, "was"))
    return {"text": sentence(f"{pick(rng, STORIES).format(one=one, two=two)} {reason}"), "pronoun": meant}


TASK = DemoTask(
    info=DemoInfo(
        name="coreference",
        description="which of two nouns a pronoun means",
        kind="coreference",
        labels=("first", "second"),
        words={"first": "first", "second": "second"},
        inputs=("text", "pronoun"),
        difficulty=0.7,
        template="{text} The word {pronoun} means the",
    ),
    draw=draw,
    open_words=frozenset(word.lower() for word in (*WOMEN[::2], *MEN[::2], *THINGS)),
)
