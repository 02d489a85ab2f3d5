"""Demo task ``entailment``: whether one sentence follows from another, contradicts it, or neither.

General and special words entail each other in opposite directions with and without negation, as in natural logic
(MacCartney and Manning 2007).
"""

import numpy as np

from autodelta.tasks.demo._grammar import chance, pick, pick_two, sentence, usual
from autodelta.tasks.demo._task import DemoInfo, DemoTask, Fields
from autodelta.tasks.demo._vocabulary import ANIMALS, FRUITS, INSTRUMENTS, PEOPLE, PLACES, TOOLS, VEHICLES

GENERAL = {"animal": ANIMALS, "fruit": FRUITS, "tool": TOOLS[:-2], "vehicle": VEHICLES, "instrument": INSTRUMENTS}
VERBS = (("buy", "bought"), ("find", "found"), ("see", "saw"), ("sell", "sold"), ("lose", "lost"), ("draw", "drew"),
         ("paint", "painted"), ("describe", "described"), ("steal", "stole"), ("bring", "brought"),
         ("choose", "chose"), ("want", "wanted"))  # fmt: skip
AFFIRMED = ("{past}", "managed to {base}", "was able to {base}")
DENIED = ("did not {base}", "failed to {base}", "was unable to {base}")
SETTINGS = ("behind the {place}", "near the {place}", "on sunday", "last week", "in the morning", "")


def _objects(rng: np.random.Generator, label: str, difficulty: float, affirmed: bool) -> tuple[str, str]:
    """What premise and hypothesis are about: the same thing, a thing and its kind, or unlike things."""
    one, two = pick_two(rng, tuple(GENERAL))
    special, general = pick(rng, GENERAL[one]), one
    related = chance(rng, difficulty)
    if label == "neutral":
        if related:
            return (general, special) if affirmed else (special, general)
        return special, pick(rng, GENERAL[two])
    if not related:
        return special, special
    return (special, general) if affirmed else (general, special)


def _verb(rng: np.random.Generator, verb: tuple[str, str], affirmed: bool, difficulty: float) -> str:
    forms = AFFIRMED if affirmed else DENIED
    return (pick(rng, forms) if chance(rng, difficulty) else forms[0]).format(base=verb[0], past=verb[1])


def draw(rng: np.random.Generator, label: str, difficulty: float) -> Fields:
    """``difficulty``: how often objects differ in generality alone, and verbs are affirmed or denied in other words.

    It is, too, twice how often the premise is a denial.
    """
    affirmed = usual(rng, difficulty)
    turned = chance(rng, 0.5) if label == "neutral" else label == "contradiction"
    premise_object, hypothesis_object = _objects(rng, label, difficulty, affirmed)
    who, verb = f"the {pick(rng, PEOPLE)}", pick(rng, VERBS)
    setting = pick(rng, SETTINGS).format(place=pick(rng, PLACES))
    premise = f"{who} {_verb(rng, verb, affirmed, difficulty)} a {premise_object} {setting if affirmed else ''}"
    hypothesis = f"{who} {_verb(rng, verb, affirmed != turned, difficulty)} a {hypothesis_object}"
    return {"premise": sentence(premise), "hypothesis": sentence(hypothesis)}


TASK = DemoTask(
    info=DemoInfo(
        name="entailment",
        description="whether a sentence follows from another, contradicts it, or neither",
        kind="entailment",
        labels=("entailment", "neutral", "contradiction"),
        words={"entailment": "yes", "neutral": "maybe", "contradiction": "no"},
        inputs=("premise", "hypothesis"),
        template="{premise} Is it true? {hypothesis}",
        train_size=2000,
        difficulty=0.4,
    ),
    draw=draw,
    open_words=frozenset(ANIMALS + FRUITS + VEHICLES),
)
