"""A size study's answer in plain sentences."""

from autodelta.search.answer.lines import points
from autodelta.studies.sizes.answer import AtSize, Range, SizesAnswer
from autodelta.studies.sizes.crossing import Crossing


def lines(answer: SizesAnswer) -> list[str]:
    """What to use at how much labelled data, where it changes, and how sure that is; differences in points."""
    if not answer.winners:
        return ["no search has ended with something to recommend"]
    return [
        *([] if answer.finished else ["the study has not ended: this is what is known so far"]),
        *(_recommended(answer, one) for one in answer.ranges),
        *_from_elsewhere(answer),
        *_only_one(answer),
        *(_crossing(one, answer) for one in answer.crossings),
        *(_uncompared(answer, *pair) for pair in answer.uncompared),
        *(
            f"{cell.winner} broke down with {cell.rows:,} rows: {cell.failure}"
            for cell in answer.cells
            if cell.failure is not None
        ),
    ]


def _recommended(answer: SizesAnswer, found: Range) -> str:
    span = f"{found.low:,} rows" if found.low == found.high else f"{found.low:,} to {found.high:,} rows"
    winner = answer.winner(found.winner)
    text = f"with {span} of train: {winner.name}, {winner.parameters:,} parameters"
    tests = [one.test.mean for one in answer.cells if one.winner == winner.name and one.test is not None
             and found.low <= one.rows <= found.high]  # fmt: skip
    if not tests:
        return f"{text}; not scored on test"
    ends = f"{tests[0]:.3f}" if len(tests) == 1 else f"{tests[0]:.3f} to {tests[-1]:.3f}"
    return f"{text}; test {answer.metric} {ends}"


def _from_elsewhere(answer: SizesAnswer) -> list[str]:
    return [
        f"with {one.rows:,} rows its own search found {one.found}; trained again beside {_beside(answer, one)}"
        for one in answer.sizes
        if one.found is not None and one.recommended != one.found
    ]


def _beside(answer: SizesAnswer, one: AtSize) -> str:
    """Why not what the search of a size found, but another is recommended there."""
    if one.found is not None and answer.cell(one.found, one.rows).failure is not None:
        return f"{one.recommended}, it broke down"
    why = "ties with it and is smaller" if one.found in one.tied else "is better on validation"
    return f"it, {one.recommended} {why}"


def _uncompared(answer: SizesAnswer, first: str, second: str) -> str:
    broken = any(cell.failure is not None for cell in answer.cells if cell.winner in (first, second))
    why = "as one of them broke down" if broken else "which the budget did not allow"
    return f"{first} and {second}: not scored together at two train sizes, {why}"


def _only_one(answer: SizesAnswer) -> list[str]:
    if len(answer.winners) > 1 or len(answer.sizes) < 2:
        return []
    return ["one composition wins at every train size that was searched: there is nothing to cross"]


def _crossing(one: Crossing, answer: SizesAnswer) -> str:
    span = f"{one.span[0]:,} to {one.span[1]:,} rows"
    if one.rows is None:
        return _apart(one, span, answer.metric)
    text = f"{one.second} overtakes {one.first} at about {_rounded(one.rows)} rows"
    if one.chance is None:
        return f"{text} (too few seeds for an interval)"
    ends = (
        f"below {one.span[0]:,}" if one.low is None else _rounded(one.low),
        f"beyond {one.span[1]:,}" if one.high is None else _rounded(one.high),
    )
    return f"{text} ({answer.level:.0%} over seeds: {ends[0]} to {ends[1]}; within {span} in {one.chance:.0%} of cases)"


def _apart(one: Crossing, span: str, metric: str) -> str:
    """A pair that was compared, and does not cross."""
    low, high = sorted(-lead for lead in one.leads)
    if low == high == 0:
        text = f"no crossover within {span}: {one.first} and {one.second} score the same"
    else:
        text = f"no crossover within {span}: {one.first} stays ahead of {one.second}, "
        text += f"by {points(low)} to {points(high)} points of test {metric} at the ends"
    return text if one.chance is None else f"{text}; other seeds would show one in {one.chance:.0%} of cases"


def _rounded(rows: float) -> str:
    """Two digits of a number of rows, which is all that it is worth."""
    return f"{float(f'{rows:.2g}'):,.0f}"
