"""Demo task ``paraphrase``: whether two sentences tell the same event, under changes of voice and word order."""

import numpy as np

from autodelta.tasks.demo._grammar import Verb, chance, pick, sentence
from autodelta.tasks.demo._task import DemoInfo, DemoTask, Fields
from autodelta.tasks.demo._vocabulary import ACTIONS, PEOPLE, PLACES

ACTIVE = ("{doer} {past} {other}", "it was {doer} who {past} {other}", "{doer} is the one who {past} {other}")
PASSIVE = ("{other} was {participle} by {doer}", "it was {other} who was {participle} by {doer}",
           "{other} is the one whom {doer} {past}")  # fmt: skip
SETTINGS = ("near the {place}", "outside the {place}", "behind the {place}", "on sunday", "last year", "")


def _tell(rng: np.random.Generator, doer: str, action: Verb, other: str, *, passive: bool, setting: str) -> str:
    frame = pick(rng, PASSIVE if passive else ACTIVE)
    text = frame.format(doer=doer, other=other, past=action.past, participle=action.participle)
    return sentence(f"{setting} {text}" if chance(rng, 0.3) else f"{text} {setting}")


def draw(rng: np.random.Generator, label: str, difficulty: float) -> Fields:
    """``difficulty``: how often a false paraphrase swaps the two people, and does not bring in a third.

    It sets, too, how often the voice changes between the sentences.
    """
    doer, other, third = (f"the {PEOPLE[int(i)]}" for i in rng.permutation(len(PEOPLE))[:3])
    action = pick(rng, ACTIONS)
    setting = pick(rng, SETTINGS).format(place=pick(rng, PLACES))
    passive = chance(rng, 0.5)
    turned = chance(rng, difficulty)
    first = _tell(rng, doer, action, other, passive=passive, setting=setting)
    if label == "different":
        doer, other = (other, doer) if chance(rng, difficulty) else pick(rng, ((doer, third), (third, other)))
    second = _tell(rng, doer, action, other, passive=passive != turned, setting=setting)
    return {"first": first, "second": second}


TASK = DemoTask(
    info=DemoInfo(
        name="paraphrase",
        description="whether two sentences tell the same event",
        kind="paraphrase",
        labels=("different", "same"),
        words={"different": "different", "same": "same"},
        inputs=("first", "second"),
        template="{first} {second} The two are",
        train_size=2000,
        difficulty=0.4,
    ),
    draw=draw,
)
