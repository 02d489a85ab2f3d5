"""Demo task ``paraphrase``: whether two sentences tell the same event, under changes of voice and word order."""

import numpy as np

from autodelta.tasks.demo._grammar import Verb, chance, pick, pick_two, sentence, usual
from autodelta.tasks.demo._task import DemoInfo, DemoTask, Fields
from autodelta.tasks.demo._vocabulary import ACTIONS, PEOPLE, PLACES

DOER_FIRST = ("{doer} {past} {other}", "it was {doer} who {past} {other}", "{doer} is the one who {past} {other}")
OTHER_FIRST = ("{other} was {participle} by {doer}", "it was {other} who was {participle} by {doer}",
               "{other} is the one whom {doer} {past}")  # fmt: skip
SETTINGS = ("near the {place}", "outside the {place}", "behind the {place}", "on sunday", "last year", "")


def _tell(rng: np.random.Generator, action: Verb, doer: str, other: str, *, doer_first: bool, setting: str) -> str:
    frame = pick(rng, DOER_FIRST if doer_first else OTHER_FIRST)
    text = frame.format(doer=doer, other=other, past=action.past, participle=action.participle)
    return sentence(f"{setting} {text}" if chance(rng, 0.3) else f"{text} {setting}")


def draw(rng: np.random.Generator, label: str, difficulty: float) -> Fields:
    """``difficulty``: twice how often the first sentence begins with the one to whom it was done.

    It is, too, twice how often the second sentence names the two people in the other order: at 0 it is enough to
    compare voices; at 1 one must see who is who.
    """
    doer, other = (f"the {noun}" for noun in pick_two(rng, PEOPLE))
    action = pick(rng, ACTIONS)
    setting = pick(rng, SETTINGS).format(place=pick(rng, PLACES))
    doer_first = usual(rng, difficulty)
    first = _tell(rng, action, doer, other, doer_first=doer_first, setting=setting)
    if chance(rng, difficulty / 2):
        doer_first = not doer_first
    if label == "different":
        doer, other, doer_first = other, doer, not doer_first
    second = first
    while second == first:
        second = _tell(rng, action, doer, other, doer_first=doer_first, setting=setting)
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
