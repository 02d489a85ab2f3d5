"""Demo task ``question``: what kind of answer a question asks for, told by the head of its noun phrase."""

import numpy as np

from autodelta.tasks.demo._grammar import chance, common, pick, plain, sentence, usual
from autodelta.tasks.demo._task import DemoInfo, DemoTask, Fields
from autodelta.tasks.demo._vocabulary import ANIMALS, GROUPS, PEOPLE, PLACES, PLAIN_ADJECTIVES, THINGS

KINDS = {"person": PEOPLE, "animal": ANIMALS, "place": PLACES, "thing": THINGS, "group": GROUPS}
HEAD_FIRST = (
    "which {head} was named after the {other}",
    "which {head} could be seen from the {other}",
    "which {head} did they draw beside the {other}",
    "{ask} the {head} near the {other}",
    "{ask} the {head} that the {other} was named after",
    "{ask} the {head} that made the {other} famous",
)
HEAD_LAST = (
    "from the {other}, which {head} could be seen",
    "after the {other}, which {head} was described",
    "beside the {other}, which {head} did they draw",
    "near the {other}, {ask} the {head}",
    "if one comes from the {other}, {ask} the {head}",
)
ALONE = ("{ask} the {head}", "which {head} was it", "which {head} do you remember")
ASK = ("what is the name of", "what do you call", "what was the name of", "what did they call", "what do people call")
TAILS = ("of the north", "of old", "of that time", "in the news", "from far away", "of the story", "on the left")


def _noun(rng: np.random.Generator, kind: str, difficulty: float) -> str:
    """A noun between words that do not tell whether it is the head."""
    adjective = pick(rng, PLAIN_ADJECTIVES[:8]) if chance(rng, 0.8) else ""
    tail = pick(rng, TAILS) if chance(rng, 0.6) else ""
    return f"{adjective} {pick(rng, common(KINDS[kind], difficulty))} {tail}"


def draw(rng: np.random.Generator, label: str, difficulty: float) -> Fields:
    """``difficulty``: twice how often the head comes last; and how rare the nouns are."""
    other = pick(rng, [kind for kind in KINDS if kind != label])
    frames = ALONE if plain(rng, difficulty) else HEAD_FIRST if usual(rng, difficulty) else HEAD_LAST
    head, beside = (_noun(rng, kind, difficulty) for kind in (label, other))
    return {"question": sentence(pick(rng, frames).format(ask=pick(rng, ASK), head=head, other=beside), "?")}


TASK = DemoTask(
    info=DemoInfo(
        name="question",
        description="the kind of thing that a question asks for",
        kind="question type",
        labels=tuple(KINDS),
        words={kind: kind for kind in KINDS},
        inputs=("question",),
        template="{question} The answer is a kind of",
        label_noise=0.1,
        difficulty=0.6,
    ),
    draw=draw,
    open_words=frozenset(noun for nouns in KINDS.values() for noun in nouns),
)
