"""Demo task ``numeric``: whether one count is more than, less than or equal to another, after a little arithmetic."""

import numpy as np

from autodelta.tasks.demo._grammar import chance, pick, pick_two, plural, sentence
from autodelta.tasks.demo._task import DemoInfo, DemoTask, Fields
from autodelta.tasks.demo._vocabulary import ANIMALS, FRUITS, NAMES, NUMBERS, THINGS

VERBS = ("has", "bought", "found", "sold", "counted", "lost", "wants", "keeps", "saw", "received")
COUNTED = tuple(plural(noun) for noun in (*FRUITS, *THINGS[:30], *ANIMALS[:20]))
LEAST = 2


def _other_count(rng: np.random.Generator, count: int, label: str, *, gap: int, most: int) -> int | None:
    """A count that stands to ``count`` as the label says, at least ``gap`` away; none if there is no such number."""
    if label == "equal":
        return count
    low, high = (LEAST, count - gap) if label == "more" else (count + gap, most)
    return int(rng.integers(low, high + 1)) if low <= high else None


def draw(rng: np.random.Generator, label: str, difficulty: float) -> Fields:
    """``difficulty`` narrows the gap between unequal counts, from 4 to 1, and widens their range, from 2-10 to 2-20.

    It is, too, twice how often the question turns the two people round.
    """
    gap, most = 1 + round(3 * (1 - difficulty)), 10 + round(10 * difficulty)
    other = None
    while other is None:
        count = int(rng.integers(LEAST, most + 1))
        other = _other_count(rng, count, label, gap=gap, most=most)
    first, second = pick_two(rng, NAMES)
    verb, noun = pick(rng, VERBS), pick(rng, COUNTED)
    parts = [f"{name} {verb} {NUMBERS[n - LEAST]} {noun}" for name, n in ((first, count), (second, other))]
    if chance(rng, difficulty / 2):
        parts.reverse()
    text = " ".join(sentence(part) for part in parts)
    return {"text": text, "first": first, "second": second}


TASK = DemoTask(
    info=DemoInfo(
        name="numeric",
        description="whether one count is more than, less than or equal to another",
        kind="numeric reasoning",
        labels=("more", "less", "equal"),
        words={"more": "more", "less": "less", "equal": "same"},
        inputs=("text", "first", "second"),
        template="{text} Compared to {second}, {first}:",
        train_size=2000,
        difficulty=0.3,
    ),
    draw=draw,
)
