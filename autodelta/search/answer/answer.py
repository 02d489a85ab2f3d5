"""What a search answers: the winner and how sure that is, what ties with it, and what it was held against."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from pydantic import Field

from autodelta.frozen import Frozen
from autodelta.search.answer.compare import Difference, Judge, Metric, against_entrant, against_fixed
from autodelta.search.answer.entrants import FULL, LORA, Entrant, Rival
from autodelta.search.answer.posterior import expected_regret, highest, seed_spread
from autodelta.search.answer.race import RIVALS, chosen
from autodelta.search.answer.results import Confirmed, failure, of, scores
from autodelta.search.answer.select import LEVEL, Choice, choose, contenders
from autodelta.search.answer.shrink import row_variance
from autodelta.search.answer.variance import Interval, pooled, prediction
from autodelta.search.answer.verdicts import SINGLE, Verdict, of_baselines, of_floors
from autodelta.tasks.metrics import ends

NAMES: dict[Rival, str] = {"lora": LORA, "full": FULL}
NO_BUDGET = "the budget did not allow it"


class Standing(Frozen):
    """One entrant with what its confirmation runs gave."""

    name: str
    kind: Literal["finalist", "baseline"]
    methods: tuple[str, ...]
    parameters: int
    trial: int | None
    searched: float | None  # the search's own validation score: optimistic, since it was chosen by
    expected: float | None  # what it was expected to be on the mean over seeds, the luck of the search aside
    seeds: tuple[int, ...]
    validation: float | None  # means over the fresh seeds
    test: float | None
    test_scores: tuple[float, ...]
    failure: str | None  # why a run did not come to its end


class Answer(Frozen):
    """The result of a search. Intervals have the probability ``level``; scores are the task's metric."""

    task: str
    metric: str
    rows: dict[str, int]  # of each split
    level: float
    winner: str | None  # None: no trial came to its end
    standings: tuple[Standing, ...]  # finalists, then baselines
    export: str | None = None  # the smallest of those that tie
    tied: tuple[str, ...] = ()  # with the winner, the smallest first; empty while nothing was confirmed
    seed_sd: float | None = None  # of the winner's test scores; None with fewer than two
    seed_dof: float = 0  # behind ``next_seed``, which others and recorded trials have a share in
    next_seed: Interval | None = None  # where the winner's test score at one more seed will lie
    expected_regret: float | None = None  # on validation, among the finalists
    differences: tuple[Difference, ...] = ()  # on test, of the winner to each baseline
    uncompared: dict[str, str] = Field(default_factory=dict)  # baselines that it is not held against, and why
    floors: tuple[Difference, ...] = ()  # on test, to what needs no backbone
    verdicts: tuple[Verdict, ...] = ()

    def standing(self, name: str) -> Standing:
        """What an entrant's runs gave."""
        return next(standing for standing in self.standings if standing.name == name)


def to_test(entrants: Sequence[Entrant], results: Sequence[Confirmed]) -> list[tuple[str, int]]:
    """The runs to be scored on test, as entrants' names and numbers of seeds, the most needed first: of the winner and
    what is exported, of every other finalist, since all of them say how much seeds scatter, and of each baseline at the
    learning rate that validation chose. None where no finalist was confirmed.
    """
    choice = choose(entrants, results)
    if choice is None:
        return []
    names = [choice.winner, choice.export]
    names += [entrant.name for entrant in entrants if entrant.kind == "finalist"]
    baselines = (chosen([entrant for entrant in entrants if entrant.rival == rival], results) for rival in RIVALS)
    names += [entrant.name for entrant in baselines if entrant is not None]
    return [(name, seed) for name in dict.fromkeys(names) for seed in scores(results, name)]


def conclude(
    entrants: Sequence[Entrant],
    results: Sequence[Confirmed],
    *,
    task: str,
    metric: str,
    rows: Mapping[str, int],
    score: Metric,
    gold: Sequence[str] = (),
    floors: Mapping[str, Sequence[str]] | None = None,
    level: float = LEVEL,
) -> Answer:
    """The answer that confirmation runs give.

    gold: the labels of test, without which nothing is said about other rows or about floors. floors: predictions on
    test by name, as ``tasks.floor.floors`` makes them. score: the task's metric over labels.
    """
    choice = choose(entrants, results, level=level)
    finalists = [entrant.name for entrant in entrants if entrant.kind == "finalist"]
    answer = Answer(
        task=task,
        metric=metric,
        rows=dict(rows),
        level=level,
        winner=choice.winner if choice else next(iter(finalists), None),
        standings=tuple(_standing(entrant, results) for entrant in entrants if _shown(entrant, results)),
    )
    if choice is None:
        return answer.model_copy(update={"export": answer.winner, "verdicts": ("not confirmed",) if finalists else ()})
    judge = Judge(gold, score) if gold else None
    return _confirmed(answer, choice, entrants, results, judge, floors or {})


def _confirmed(
    answer: Answer,
    choice: Choice,
    entrants: Sequence[Entrant],
    results: Sequence[Confirmed],
    judge: Judge | None,
    floors: Mapping[str, Sequence[str]],
) -> Answer:
    """What confirmation adds to an answer."""
    winner, level = next(entrant for entrant in entrants if entrant.name == choice.winner), answer.level
    rivals = _rivals(entrants, results, winner.name)
    held = {r.name: _against(results, winner.name, r, judge, level) for r in rivals if r.entrant != winner.name}
    differences = tuple(one for one in held.values() if one is not None)
    verdicts = of_baselines(winner, entrants, differences)
    to_floors: list[Difference | None] = []
    if judge is not None:
        to_floors = [
            against_fixed(results, winner.name, predictions, name=name, judge=judge, level=level)
            for name, predictions in floors.items()
        ]
        names = dict.fromkeys([winner.name, *(r.entrant for r in rivals if r.entrant is not None)])
        verdicts += of_floors(results, list(names), floors, judge=judge, level=level)
    spread = seed_spread(results, winner.name, split="test")
    tests = list(scores(results, winner.name, "test").values())
    return answer.model_copy(
        update={
            "export": choice.export,
            "tied": choice.tied,
            "seed_sd": pooled([tests]).sd if len(tests) > 1 else None,
            "seed_dof": spread.dof,
            "next_seed": _possible(prediction(tests, spread, level=level), answer.metric),
            "expected_regret": _regret(entrants, results, winner, answer),
            "differences": differences,
            "uncompared": {r.name: r.why_not for r in rivals if r.name in held and held[r.name] is None},
            "floors": tuple(one for one in to_floors if one is not None),
            "verdicts": verdicts,
        }
    )


def _shown(entrant: Entrant, results: Sequence[Confirmed]) -> bool:
    """Finalists, and baselines that were run."""
    return entrant.kind == "finalist" or bool(of(results, entrant.name))


def _standing(entrant: Entrant, results: Sequence[Confirmed]) -> Standing:
    validation, test = scores(results, entrant.name), scores(results, entrant.name, "test")
    return Standing(
        name=entrant.name,
        kind=entrant.kind,
        methods=entrant.candidate.methods,
        parameters=entrant.parameters,
        trial=entrant.trial,
        searched=entrant.searched,
        expected=entrant.expected,
        seeds=tuple(run.seed for run in of(results, entrant.name)),
        validation=_mean(validation),
        test=_mean(test),
        test_scores=tuple(test.values()),
        failure=failure(results, entrant.name),
    )


def _mean(found: Mapping[int, float]) -> float | None:
    return float(np.mean(list(found.values()))) if found else None


def _possible(found: Interval | None, metric: str) -> Interval | None:
    """The part of an interval in which the metric can be."""
    if found is None:
        return None
    least, most = ends(metric)
    return Interval(low=max(least, found.low), high=min(most, found.high))


def _regret(entrants: Sequence[Entrant], results: Sequence[Confirmed], winner: Entrant, answer: Answer) -> float | None:
    if "validation" not in answer.rows:
        return None
    variance = row_variance(winner.searched or 0.0, answer.rows["validation"], answer.metric)
    return expected_regret(entrants, results, winner.name, row_variance=variance)


class _Stand(NamedTuple):
    """Who stands for a baseline; None with the reason where nobody does."""

    name: str
    entrant: str | None
    why_not: str


def _rivals(entrants: Sequence[Entrant], results: Sequence[Confirmed], winner: str) -> list[_Stand]:
    """LoRA, the best single method, full fine-tuning."""
    singles = [entrant for entrant in entrants if entrant.kind == "finalist" and entrant.single]
    best = highest(contenders(singles, results), results)
    single = None if best is None else best.name
    name = SINGLE if single in (None, winner) else f"{SINGLE}, {single}"
    found = {}
    for rival in RIVALS:
        tried = [entrant for entrant in entrants if entrant.rival == rival]
        best = chosen(tried, results)
        found[rival] = _Stand(NAMES[rival], None if best is None else best.name, _reason(tried, results))
    own = _Stand(name, single, _reason(singles, results) if singles else "no trial of one method came to its end")
    return [found["lora"], own, found["full"]]


def _reason(entrants: Sequence[Entrant], results: Sequence[Confirmed]) -> str:
    return next((why for entrant in entrants if (why := failure(results, entrant.name))), NO_BUDGET)


def _against(
    results: Sequence[Confirmed], winner: str, rival: _Stand, judge: Judge | None, level: float
) -> Difference | None:
    if rival.entrant is None:
        return None
    return against_entrant(results, winner, rival.entrant, name=rival.name, judge=judge, level=level)
