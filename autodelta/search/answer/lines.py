"""An answer in plain sentences, each of which a reviewer could hold us to."""

import math
from collections.abc import Sequence

from autodelta.search.answer.answer import Answer, Standing
from autodelta.search.answer.compare import Difference
from autodelta.search.answer.select import TELLING
from autodelta.search.answer.variance import Interval


def lines(answer: Answer) -> list[str]:
    """What came out, the most important first. Differences are in points, a hundredth of the metric."""
    if answer.winner is None:
        return ["no trial came to its end: there is nothing to recommend"]
    winner = answer.standing(answer.winner)
    if "not confirmed" in answer.verdicts:
        return [_unconfirmed(answer, winner)]
    verdicts = [verdict for verdict in answer.verdicts if verdict != "not confirmed"]
    return [
        _headline(answer, winner),
        *verdicts,
        _ties(answer),
        *(_compared(one, answer.level) for one in answer.differences),
        *(f"not compared with {name}: {why}" for name, why in answer.uncompared.items()),
        *(_compared(one, answer.level) for one in answer.floors),
        *_regret(answer),
        *(f"{one.name} broke down when trained again: {one.failure}" for one in answer.standings if one.failure),
    ]


def points(value: float, *, sign: bool = True) -> str:
    """A hundredth of a metric is a point."""
    return f"{100 * value:{'+' if sign else ''}.1f}"


def _unconfirmed(answer: Answer, winner: Standing) -> str:
    seen = "" if winner.searched is None else f": validation {answer.metric} {winner.searched:.3f} at one seed"
    expected = None if winner.expected == winner.searched else winner.expected  # as where there was no choice
    others = "" if expected is None else f", expected at other seeds about {expected:.3f}"
    why = next((f"; {one.failure}" for one in answer.standings if one.failure), "")
    return f"{_sized(winner)}{seen}{others}; not confirmed over seeds, and test was not touched{why}"


def _headline(answer: Answer, winner: Standing) -> str:
    found = [_sized(winner)]
    if winner.test is None:
        return f"{found[0]}: validation {answer.metric} {winner.validation:.3f}, {_seeds(len(winner.seeds))}"
    text = f"{found[0]}: test {answer.metric} {winner.test:.3f}, {_seeds(len(winner.test_scores))}"
    if answer.seed_sd is not None:
        text += f", s.d. {answer.seed_sd:.3f}"
    if answer.next_seed is not None:
        low, high = answer.next_seed.low, answer.next_seed.high
        text += f"; another seed will lie in {low:.3f} to {high:.3f} ({answer.level:.0%})"
    return text


def _ties(answer: Answer) -> str:
    others = [name for name in answer.tied if name != answer.winner]
    finalists = [one for one in answer.standings if one.kind == "finalist"]
    raced = [one for one in finalists if one.seeds and not one.failure]  # who broke down has a line of its own
    if not others:
        if len(answer.standing(answer.tied[0]).seeds) < 2:
            return "one seed tells nothing apart: what ties with the winner is not known, and it is exported itself"
        if len(raced) == 1:
            return _alone(finalists)
        few = [one.name for one in raced if len(one.seeds) < TELLING and one.name != answer.winner]
        told_apart = len(raced) - 1 - len(few)
        apart = "one other finalist does not tie" if told_apart == 1 else f"none of {told_apart} other finalists ties"
        found = [f"{apart} with it ({answer.level:.0%})"] if told_apart else []
        found += [f"{_and(few)}, left before {TELLING} seeds, cannot be said to tie"] if few else []
        return f"{'; '.join(found)}; the winner is exported"
    assert answer.export is not None
    smallest = "it is itself the smallest" if answer.export == answer.winner else f"the smallest is {answer.export}"
    size = answer.standing(answer.export).parameters
    return f"tied with it within noise: {_and(others)}; {smallest} ({size:,} parameters), which is exported"


def _alone(finalists: Sequence[Standing]) -> str:
    """Why there is nobody that could tie."""
    if len(finalists) == 1:
        return "there was no other finalist: no other candidate came to its end"
    if all(one.seeds for one in finalists):
        return "no other finalist came to its end when trained again"
    return "no other finalist was confirmed: the budget did not allow it"


def _compared(one: Difference, level: float) -> str:
    """Over seeds; and over rows, too, where predictions allow it."""
    text = f"against {one.against} ({one.other:.3f}): {points(one.mean)} points"
    if one.over_seeds is None:
        return f"{text} ({_seeds(one.seeds)}: too few for an interval)"
    text += f" ({level:.0%} {_span(one.over_seeds)} over seeds, {_seeds(one.seeds)}"
    return text + (f"; {_span(one.over_rows)} over other rows, too)" if one.over_rows else ")")


def _regret(answer: Answer) -> list[str]:
    if answer.expected_regret is None:
        return []
    regret = points(answer.expected_regret, sign=False)
    return [f"expected regret of choosing it among the finalists: {regret} points of validation {answer.metric}"]


def _sized(one: Standing) -> str:
    return f"{one.name}, {one.parameters:,} parameters"


def _seeds(number: int) -> str:
    return f"{number} seed{'' if number == 1 else 's'}"


def _span(interval: Interval) -> str:
    ends = [points(end) for end in (interval.low, interval.high)]
    return " to ".join(ends) if all(map(math.isfinite, (interval.low, interval.high))) else "without bound"


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
