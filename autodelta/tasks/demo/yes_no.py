"""Demo task ``yes_no``: whether a deed was done, told by verbs that imply it or deny it, affirmed or denied in turn.

Such verbs ("manage to", "fail to") are the implicatives of Karttunen 1971.
"""

import numpy as np

from autodelta.tasks.demo._grammar import chance, pick, pick_two, plain, sentence
from autodelta.tasks.demo._task import DemoInfo, DemoTask, Fields
from autodelta.tasks.demo._vocabulary import DEEDS, NAMES, PEOPLE

DONE = ("managed to", "was able to", "remembered to", "was free to and did", "took the time to", "did not forget to",
        "was brave enough to", "had the luck to")  # fmt: skip
UNDONE = ("failed to", "was unable to", "forgot to", "refused to", "had no time to", "did not remember to",
          "was too tired to", "had no wish to")  # fmt: skip
TRUE = ("it is true that", "everybody knows that", "it turned out that", "they could prove that", "it is a fact that",
        "the letter was right that", "we are sure that")  # fmt: skip
FALSE = ("it is not true that", "nobody believes that", "it is a lie that", "they could never prove that",
         "it is wrong that", "the letter was wrong that", "it cannot be that")  # fmt: skip


def _claim(rng: np.random.Generator, who: str, deed: tuple[str, str, str], *, done: bool) -> str:
    return f"{who} {pick(rng, DONE if done else UNDONE)} {deed[0]} {deed[2]}"


def draw(rng: np.random.Generator, label: str, difficulty: float) -> Fields:
    """Plain claims are neither affirmed nor denied; above 0.5, some passages tell of a second deed."""
    who = pick(rng, NAMES) if chance(rng, 0.5) else f"the {pick(rng, PEOPLE)}"
    deed, other = pick_two(rng, DEEDS)
    opening, done = "", label == "yes"
    if not plain(rng, difficulty):
        affirmed = chance(rng, 0.5)
        opening, done = pick(rng, TRUE if affirmed else FALSE), done == affirmed
    sentences = [sentence(f"{opening} {_claim(rng, who, deed, done=done)}")]
    if chance(rng, 2 * difficulty - 1):
        sentences.insert(int(rng.integers(2)), sentence(_claim(rng, who, other, done=chance(rng, 0.5))))
    return {"text": " ".join(sentences), "question": sentence(f"did {who} {deed[0]} {deed[2]}", "?")}


TASK = DemoTask(
    info=DemoInfo(
        name="yes_no",
        description="whether a deed was done, as far as a sentence implies it",
        kind="question answering",
        labels=("no", "yes"),
        words={"no": "no", "yes": "yes"},
        inputs=("text", "question"),
        template="{text} {question}",
        difficulty=0.4,
    ),
    draw=draw,
)
