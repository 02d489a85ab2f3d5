"""What a size study answers: which composition at which amount of labelled data, and where one overtakes another.

Pure: the answers of the searches and all confirmation runs in, an answer out. The recommendation at a size is the
smallest of the winners of all sizes that ties with the best there, chosen on validation as in one search. Crossings are
read from test: none of them chooses anything, and on validation every winner is flattered at its own size.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from autodelta.candidate import Candidate
from autodelta.frozen import Frozen
from autodelta.search.answer import Answer, Confirmed, Entrant
from autodelta.search.answer.results import failure, scores
from autodelta.search.answer.select import LEVEL, choose
from autodelta.search.run import Exported
from autodelta.studies.sizes.crossing import Crossing, crossings, differences


class Searched(NamedTuple):
    """What is known at one train size."""

    rows: int
    run: str  # the search's folder in the study
    answer: Answer
    exported: Exported | None  # the winner: the smallest that ties there
    confirmed: Sequence[Confirmed]  # of the search, and of the winners of other sizes


class Winner(Frozen):
    """A composition that is exported at one size or several."""

    name: str
    sizes: tuple[int, ...]  # at which it won, by rows of train
    methods: tuple[str, ...]
    parameters: int
    candidate: Candidate


class Mean(Frozen):
    """A mean over seeds; s.d.: of one seed, None with fewer than two."""

    mean: float
    sd: float | None
    seeds: int


class Cell(Frozen):
    """A winner at one train size."""

    winner: str
    rows: int
    validation: Mean | None
    test: Mean | None
    failure: str | None  # why a run did not come to its end


class AtSize(Frozen):
    """What is recommended at one train size."""

    rows: int
    run: str
    best: str | None  # of its own search, by validation
    found: str | None  # what its own search exported
    recommended: str | None  # among the winners of all sizes
    tied: tuple[str, ...] = ()  # of them, the smallest first


class Range(Frozen):
    """Train sizes next to each other with one recommendation."""

    low: int
    high: int
    winner: str


class SizesAnswer(Frozen):
    """The result of a size study. Intervals have the probability ``level``; scores are the task's metric."""

    task: str
    metric: str
    level: float
    finished: bool  # False: there are searches or runs of the budget still to come
    sizes: tuple[AtSize, ...]
    winners: tuple[Winner, ...]
    cells: tuple[Cell, ...]
    crossings: tuple[Crossing, ...]
    uncompared: tuple[tuple[str, str], ...]  # pairs without two train sizes at which both were scored
    ranges: tuple[Range, ...]

    def winner(self, name: str) -> Winner:
        """A winner by its name."""
        return next(one for one in self.winners if one.name == name)

    def cell(self, winner: str, rows: int) -> Cell:
        """A winner's scores at a size."""
        return next(one for one in self.cells if (one.winner, one.rows) == (winner, rows))


def conclude(
    searched: Sequence[Searched], *, task: str, metric: str, finished: bool, level: float = LEVEL
) -> SizesAnswer:
    """The answer that the searches of all sizes give, from the smallest."""
    winners = winners_of(searched)
    runs = {one.rows: named(winners, one.confirmed) for one in searched}
    pairs = list(itertools.combinations([one.name for one in winners], 2))
    compared = {pair: crossings(*pair, differences(runs, *pair), level=level) for pair in pairs}
    sizes = tuple(_at_size(one, winners, runs[one.rows], level) for one in searched)
    return SizesAnswer(
        task=task,
        metric=metric,
        level=level,
        finished=finished,
        sizes=sizes,
        winners=winners,
        cells=tuple(_cell(winner.name, rows, found) for winner in winners for rows, found in runs.items()),
        crossings=tuple(crossing for found in compared.values() for crossing in found),
        uncompared=tuple(pair for pair, found in compared.items() if not found),
        ranges=tuple(_ranges(sizes)),
    )


def winners_of(searched: Iterable[Searched]) -> tuple[Winner, ...]:
    """What the searches exported, each candidate once."""
    found: dict[Candidate, Winner] = {}
    for one in searched:
        if one.exported is None:
            continue
        candidate = one.exported.candidate
        before = found.get(candidate)
        found[candidate] = Winner(
            name=before.name if before else f"{' + '.join(candidate.methods)} (of {one.rows:,} rows)",
            sizes=(*(before.sizes if before else ()), one.rows),
            methods=candidate.methods,
            parameters=one.exported.parameters,
            candidate=candidate,
        )
    return tuple(found.values())


def named(winners: Iterable[Winner], confirmed: Iterable[Confirmed]) -> list[Confirmed]:
    """The winners' runs under the winners' names, each seed once; whoever else was confirmed is left out."""
    names = {winner.candidate: winner.name for winner in winners}
    found: dict[tuple[str, int], Confirmed] = {}
    for run in confirmed:
        name = names.get(run.candidate)
        if name is None:
            continue
        known = found.get((name, run.seed_index))
        if known is None or known.test is None:
            found[name, run.seed_index] = run.model_copy(update={"entrant": name})
    return list(found.values())


def _at_size(one: Searched, winners: Sequence[Winner], confirmed: Sequence[Confirmed], level: float) -> AtSize:
    entrants = [
        Entrant(name=winner.name, kind="finalist", candidate=winner.candidate, parameters=winner.parameters)
        for winner in winners
    ]
    choice = choose(entrants, confirmed, level=level)
    found = next((winner.name for winner in winners if one.rows in winner.sizes), None)
    return AtSize(
        rows=one.rows,
        run=one.run,
        best=one.answer.winner,
        found=found,
        recommended=choice.export if choice else found,
        tied=choice.tied if choice else (),
    )


def _cell(winner: str, rows: int, confirmed: Sequence[Confirmed]) -> Cell:
    return Cell(
        winner=winner,
        rows=rows,
        validation=_mean(scores(confirmed, winner)),
        test=_mean(scores(confirmed, winner, "test")),
        failure=failure(confirmed, winner),
    )


def _mean(found: Mapping[int, float]) -> Mean | None:
    if not found:
        return None
    values = list(found.values())
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Mean(mean=float(np.mean(values)), sd=sd, seeds=len(values))


def _ranges(sizes: Sequence[AtSize]) -> list[Range]:
    groups = itertools.groupby(sizes, key=lambda size: size.recommended)
    spans = [(winner, [size.rows for size in group]) for winner, group in groups]
    return [Range(low=rows[0], high=rows[-1], winner=winner) for winner, rows in spans if winner is not None]
