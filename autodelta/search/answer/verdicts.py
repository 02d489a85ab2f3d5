"""What a reader of an answer must not overlook."""

from collections.abc import Mapping, Sequence
from typing import Literal

from autodelta.search.answer.compare import Difference, Judge, against_fixed
from autodelta.search.answer.entrants import FULL, LORA, Entrant
from autodelta.search.answer.results import Confirmed
from autodelta.search.answer.select import rejected
from autodelta.tasks.floor import COUNTING, MAJORITY, NEAREST, USUAL_ANSWER

SINGLE = "the best single method"

Verdict = Literal[
    "not confirmed",
    "no combination beats one method",
    "nothing beats the majority class",
    "nothing beats TF-IDF + logistic regression",
    "nothing beats the most frequent answer",
    "nothing beats the answer of the nearest row by TF-IDF",
    "LoRA r=8 on q,v is better",
    "full fine-tuning is better",
]
BETTER: dict[str, Verdict] = {LORA: "LoRA r=8 on q,v is better", FULL: "full fine-tuning is better"}
NOTHING_BEATS: dict[str, Verdict] = {
    MAJORITY: "nothing beats the majority class",
    COUNTING: "nothing beats TF-IDF + logistic regression",
    USUAL_ANSWER: "nothing beats the most frequent answer",
    NEAREST: "nothing beats the answer of the nearest row by TF-IDF",
}


def of_baselines(
    winner: Entrant, entrants: Sequence[Entrant], differences: Sequence[Difference]
) -> tuple[Verdict, ...]:
    """What follows from the winner's differences to its baselines."""
    found: list[Verdict] = []
    if no_combination(winner, entrants, differences):
        found.append("no combination beats one method")
    found += [BETTER[one.against] for one in differences if one.worse and one.against in BETTER]
    return tuple(found)


def no_combination(winner: Entrant, entrants: Sequence[Entrant], differences: Sequence[Difference]) -> bool:
    """Whether the winner is one method, or a combination that is not better beyond noise than every single one it was
    held against; LoRA as the plain baseline is a single method, too.
    """
    if not any(entrant.combination for entrant in entrants if entrant.kind == "finalist"):
        return False  # none was there to beat anything
    if not winner.combination:
        return True
    singles = [one for one in differences if one.against.startswith(SINGLE) or one.against == LORA]
    return bool(singles) and not all(one.better for one in singles)


def of_floors(
    results: Sequence[Confirmed],
    names: Sequence[str],
    floors: Mapping[str, Sequence[str]],
    *,
    judge: Judge,
    level: float,
) -> tuple[Verdict, ...]:
    """The floors that none of these entrants beats beyond noise, all of them having been looked at (Holm)."""
    found = []
    for floor, predictions in floors.items():
        held = [against_fixed(results, name, predictions, name=floor, judge=judge, level=level) for name in names]
        p_values = {
            name: one.p_better
            for name, one in zip(names, held, strict=True)
            if one is not None and one.p_better is not None
        }
        if p_values and floor in NOTHING_BEATS and not rejected(p_values, alpha=(1 - level) / 2):
            found.append(NOTHING_BEATS[floor])
    return tuple(found)
