"""Demo task ``word_sense``: whether a word that can be noun or verb names a thing or an act in its sentence."""

import numpy as np

from autodelta.tasks.demo._grammar import chance, pick, pick_two, sentence
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
    "the {noun} was {quality}", "there was no {noun} {when}", "they spoke of the {noun} {when}",
    "it was a {quality} {noun}", "his {noun} became famous", "we had heard about her {noun} {when}",
    "this {noun} lasted for years", "another {noun} would be {quality}", "the end of the {noun} was near",
    "nobody liked their {noun} {when}",
)  # fmt: skip
VERB_PARTS = (
    "they wanted to {verb} {when}", "he could not {verb} {when}", "she would {verb} again", "we did not {verb} {when}",
    "you should {verb} more often", "it was too late to {verb}", "the men began to {verb} {when}",
    "i might {verb} {when}", "people must {verb} together", "the children like to {verb}",
)  # fmt: skip
TIMES = ("", "", "that day", "in time", "at night", "in summer", "after the war", "at home", "by then", "for a while")
QUALITIES = words("good bad new old strange great important terrible different special")
JOINTS = ("{one} because {two}", "{one}, and {two}", "{one}, but {two}", "{one} when {two}", "{one} although {two}",
          "{one}, so {two}", "after that {one}, for {two}", "{one}; {two}")  # fmt: skip


def draw(rng: np.random.Generator, label: str, difficulty: float) -> Fields:
    """Below 0.5 some sentences hold only the word asked about; the others hold a noun and a verb of this kind."""
    noun, verb = pick_two(rng, AMBIGUOUS)
    parts = [
        pick(rng, NOUN_PARTS).format(noun=noun, quality=pick(rng, QUALITIES), when=pick(rng, TIMES)),
        pick(rng, VERB_PARTS).format(verb=verb, when=pick(rng, TIMES)),
    ]
    if not chance(rng, 2 * difficulty):
        text = parts[0 if label == "thing" else 1]
    else:
        one, two = parts if chance(rng, 0.5) else reversed(parts)
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
