"""Demo task ``acceptability``: whether a sentence is correct English; words that must agree stand apart."""

from collections.abc import Callable

import numpy as np

from autodelta.tasks.demo._grammar import chance, pick, pick_two, plural, sentence, usual, verb
from autodelta.tasks.demo._task import DemoInfo, DemoTask, Fields
from autodelta.tasks.demo._vocabulary import ACTIONS, ANIMALS, DEEDS, PEOPLE, PLACES, PLAIN_ADJECTIVES, THINGS, words

NOUNS = tuple(noun for noun in PEOPLE + ANIMALS + PLACES + THINGS if noun not in ("fish", "deer", "sheep", "scissors"))
BETWEEN = ("near", "behind", "beside", "with", "above", "in front of", "next to", "around")
STATES = ("in the picture", "very old", "well known", "on the left", "still there", "too small", "famous", "gone")
TELLING = tuple(verb("injure") if one.base == one.participle else one for one in ACTIONS)  # "has hurt" is no mistake
ADVERBS = ("already", "often", "never", "once", "finally", "certainly", "also", "probably")
HERS = words("queen woman mother sister princess lady daughter wife actress girl")
HIS = words("king man father brother prince gentleman son husband bishop boy")


def _number(noun: str, is_plural: bool) -> str:
    return plural(noun) if is_plural else noun


def _verb_agreement(rng: np.random.Generator, correct: bool, apart: bool, frequent: bool) -> str:
    """The verb agrees with the head, not with the noun beside it."""
    head_plural = frequent
    be = pick(rng, (("is", "are"), ("was", "were")))[head_plural == correct]
    head, near = pick_two(rng, NOUNS)
    state, adjective = pick(rng, STATES), pick(rng, PLAIN_ADJECTIVES)
    beside = f"{pick(rng, BETWEEN)} the {_number(near, chance(rng, 0.5))}" if apart else ""
    return f"the {adjective} {_number(head, head_plural)} {beside} {be} {state}"


def _noun_agreement(rng: np.random.Generator, correct: bool, apart: bool, frequent: bool) -> str:
    """The noun agrees with its determiner, over one or two adjectives."""
    is_plural = frequent
    determiner = pick(rng, ("these", "those", "many", "several") if is_plural else ("this", "every", "one", "another"))
    noun = _number(pick(rng, NOUNS), is_plural == correct)
    adjectives = " ".join(pick_two(rng, PLAIN_ADJECTIVES)[: 1 + apart])
    name, action = pick(rng, HERS + HIS), pick(rng, ACTIONS)
    return f"the {name} {action.past} {determiner} {adjectives} {noun}"


def _reflexive(rng: np.random.Generator, correct: bool, apart: bool, frequent: bool) -> str:
    """The reflexive agrees with the subject, not with the person in its relative clause."""
    own, others = (HERS, HIS) if frequent else (HIS, HERS)
    reflexive = "herself" if (own is HERS) == correct else "himself"
    action, meeting = pick_two(rng, ACTIONS)
    clause = f"who {meeting.past} the {pick(rng, others if chance(rng, 0.5) else own)}" if apart else ""
    return f"the {pick(rng, PLAIN_ADJECTIVES)} {pick(rng, own)} {clause} {action.past} {reflexive}"


def _tense(rng: np.random.Generator, correct: bool, apart: bool, frequent: bool) -> str:
    """The tense of the verb fits the time that the sentence names."""
    base, past, what = pick(rng, DEEDS)
    is_past = frequent
    when = pick(rng, ("yesterday", "last year", "long ago", "last night") if is_past
                else ("tomorrow", "next year", "some day soon", "next week"))  # fmt: skip
    verb = past if is_past == correct else f"will {base}"
    who = f"the {pick(rng, PLAIN_ADJECTIVES)} {pick(rng, PEOPLE)}" if apart else f"the {pick(rng, PEOPLE)}"
    return f"{when} {who} {verb} {what}" if chance(rng, 0.5) else f"{who} {verb} {what} {when}"


def _verb_form(rng: np.random.Generator, correct: bool, apart: bool, frequent: bool) -> str:
    """The verb has the form that its auxiliary asks for."""
    action = pick(rng, TELLING)
    auxiliary = pick(rng, ("has", "had", "was") if frequent else ("will", "could", "must"))
    form = action.participle if frequent == correct else action.base
    adverb = pick(rng, ADVERBS) if apart else ""
    one, two = pick_two(rng, PEOPLE)
    return f"the {one} {auxiliary} {adverb} {form} {'by' if auxiliary == 'was' else ''} the {two}"


RULES: tuple[Callable[[np.random.Generator, bool, bool, bool], str], ...] = (
    _verb_agreement, _noun_agreement, _reflexive, _tense, _verb_form,
)  # fmt: skip


def draw(rng: np.random.Generator, label: str, difficulty: float) -> Fields:
    """``difficulty``: twice how often words that must agree are kept apart by others, which may mislead.

    Usually subjects are plural, verbs past and so on, so that "are" is usually right and "is" wrong.
    """
    rule = pick(rng, RULES)
    text = rule(rng, label == "acceptable", chance(rng, difficulty / 2), usual(rng, difficulty))
    return {"text": sentence(text)}


TASK = DemoTask(
    info=DemoInfo(
        name="acceptability",
        description="whether a sentence is correct English",
        kind="acceptability",
        labels=("unacceptable", "acceptable"),
        words={"unacceptable": "wrong", "acceptable": "right"},
        inputs=("text",),
        template="{text} This sentence is",
        metric="matthews",
        train_size=2000,
        difficulty=0.7,
    ),
    draw=draw,
)
