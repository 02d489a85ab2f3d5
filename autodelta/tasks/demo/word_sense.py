"""Demo task ``word_sense``: whether a word that can be noun or verb names a thing or an act in its sentence."""

import numpy as np

from autodelta.tasks.demo._grammar import common, pick, pick_two, plain, sentence, usual
from autodelta.tasks.demo._task import DemoInfo, DemoTask, Fields
from autodelta.tasks.demo._vocabulary import words

AMBIGUOUS = words(
    "plant watch play cook guard visit walk ship land water fight call report hope work name place form help show love"
    " answer question study fear plan hunt paint dance drink dream travel trade promise attack mark judge record order"
    " support control design turn return rest use talk change start move test search hit race book film farm head face"
    " hand park train cover cut drive ride sleep smile stay vote wait wonder cry laugh cost price guess doubt need"
    " offer request demand murder rescue reward honor kiss lock load pack score shout sign sound stamp step strike"
    " supply surprise tour trick trip trust whistle camp swim fall jump run"
)
NOUN_PARTS = (
    "the {noun} was {quality}", "there was no {noun}", "they spoke of the {noun}", "it was a {quality} {noun}",
    "his {noun} became famous", "we had heard about her {noun}", "this {noun} lasted for years",
    "another {noun} would be {quality}", "the end of the {noun} was near", "nobody liked their {noun}",
)  # fmt: skip
VERB_PARTS = (
    "they wanted to {verb}", "he could not {verb}", "she would {verb} again", "we did not {verb}",
    "you should {verb} more often", "it was too late to {verb}", "the men began to {verb}",
    "i might {verb}", "people must {verb} together", "the children like to {verb}",
)  # fmt: skip
TIMES = (
    "that day",
    "in time",
    "at night",
    "in summer",
    "after the war",
    "at home",
    "by then",
    "for a while",
    "at last",
)
QUALITIES = words("good bad new old strange great important terrible different special")
JOINTS = ("{one} because {two}", "{one}, and {two}", "{one}, but {two}", "{one} when {two}", "{one} although {two}",
          "{one}, so {two}", "after that {one}, for {two}", "{one}; {two}")  # fmt: skip


def draw(rng: np.random.Generator, label: str, difficulty: float) -> Fields:
    """``difficulty``: twice how often the word asked about comes before the other one; and how many words there are."""
    noun, verb = pick_two(rng, common(AMBIGUOUS, difficulty))
    asked, other = (
        f"{pick(rng, NOUN_PARTS).format(noun=noun, quality=pick(rng, QUALITIES))} {pick(rng, TIMES)}",
        f"{pick(rng, VERB_PARTS).format(verb=verb)} {pick(rng, TIMES)}",
    )[:: 1 if label == "thing" else -1]
    text = asked
    if not plain(rng, difficulty):
        one, two = (other, asked) if usual(rng, difficulty) else (asked, other)
        text = pick(rng, JOINTS).format(one=one, two=two)
    return {"word": noun if label == "thing" else verb, "text": sentence(text)}


TASK = DemoTask(
    info=DemoInfo(
        name="word_sense",
        description="whether a word is a thing or an act in its sentence",
        kind="word sense",
        labels=("thing", "act"),
        words={"thing": "thing", "act": "act"},
        inputs=("word", "text"),
        template="{text} Here {word} is a kind of",
        difficulty=0.4,
    ),
    draw=draw,
    open_words=frozenset(AMBIGUOUS),
)
