"""Demo task ``question``: what kind of answer a question asks for, told by the head of its noun phrase."""

import numpy as np

from autodelta.tasks.demo._grammar import chance, pick, sentence
from autodelta.tasks.demo._task import DemoInfo, DemoTask, Fields
from autodelta.tasks.demo._vocabulary import ANIMALS, GROUPS, PEOPLE, PLACES, PLAIN_ADJECTIVES, THINGS

KINDS = {"person": PEOPLE, "animal": ANIMALS, "place": PLACES, "thing": THINGS, "group": GROUPS}
AFTER = (
    "{ask} the {head} near the {other}",
    "{ask} the {head} of the {other}",
    "{ask} the {head} that the {other} was named after",
    "{ask} the {head} with the {other}",
    "{ask} the {head} that made the {other} famous",
    "which {head} was named after the {other}",
    "which {head} could be seen from the {other}",
    "which {head} did they draw beside the {other}",
)
BEFORE = (
    "from the {other}, which {head} could be seen",
    "after the {other}, which {head} was described",
    "near the {other}, {ask} the {head}",
    "beside the {other}, which {head} did they draw",
    "in the story of the {other}, which {head} is the first",
    "apart from the {other}, which {head} do you remember",
)
ALONE = ("{ask} the {head}", "which {head} was it", "which {head} do you remember")
ASK = ("what is the name of", "what do you call", "what was the name of", "what did they call", "what do people call")


TAILS = ("of the north", "of old", "of that time", "in the news", "from far away", "of the story", "on the left")


def _noun(rng: np.random.Generator, kind: str) -> str:
    """A noun between words that do not tell whether it is the head."""
    adjective = pick(rng, PLAIN_ADJECTIVES[:8]) if chance(rng, 0.8) else ""
    return f"{adjective} {pick(rng, KINDS[kind])} {pick(rng, TAILS) if chance(rng, 0.6) else ''}"


def draw(rng: np.random.Generator, label: str, difficulty: float) -> Fields:
    """Below 0.5 some questions hold one noun only; above, the head comes more often last than first."""
    other = pick(rng, [kind for kind in KINDS if kind != label])
    frames: tuple[str, ...] = ALONE
    if chance(rng, 2 * difficulty):
        frames = BEFORE if chance(rng, max(0.4, difficulty)) else AFTER
    text = pick(rng, frames).format(ask=pick(rng, ASK), head=_noun(rng, label), other=_noun(rng, other))
    return {"question": sentence(text, "?")}


TASK = DemoTask(
    info=DemoInfo(
        name="question",
        description="the kind of thing that a question asks for",
        kind="question type",
        labels=tuple(KINDS),
        words={kind: kind for kind in KINDS},
        inputs=("question",),
        template="{question} The answer is a kind of",
        train_size=1500,
    ),
    draw=draw,
    open_words=frozenset(noun for nouns in KINDS.values() for noun in nouns),
)
