"""Which trials stop early: rungs, and asynchronous successive halving over them, in one bracket or several.

Source: Li et al. 2020, *A System for Massively Parallel Hyperparameter Tuning* (arXiv 1810.05934), in its stopping form
(a trial stops that is not among the best 1/eta of all that have come to its rung), and Li et al. 2018, *Hyperband*
(arXiv 1603.06560), for the brackets. Departures: trials stand by score and log-loss together where all have both, for
early scores are chance; methods that start slowly are first compared a rung later; and no trial stops at the first rung
while it is the only one with one of its methods to have come so far. All rests on what the study holds, so a pruner has
no state, and works in anybody's Optuna study, of either direction; the attributes ``methods`` and ``curve`` are used
where they are kept, and a value that is no number is none.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna import Study
from optuna.pruners import BasePruner, NopPruner
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from scipy.stats import rankdata

from autodelta.deltas.spec import spec
from autodelta.errors import one_of

ETA = 3
WARM_UP = 0.1  # share of the largest number of steps before which nothing is compared
SILVER = math.sqrt(2) - 1  # spreads trials over brackets; not the golden ratio, by which a space spreads its caps


def rungs(most_steps: int) -> tuple[int, ...]:
    """The steps at which trials are compared, rising to ``most_steps`` by a factor of ``ETA``; none before warm-up."""
    found = [most_steps]
    while (lower := math.ceil(found[0] / ETA)) >= max(1, WARM_UP * most_steps) and lower < found[0]:
        found.insert(0, lower)
    return tuple(found)


def reports(steps: int, levels: Sequence[int]) -> tuple[int, ...]:
    """The steps at which a trial of ``steps`` steps is evaluated: the rungs below its end, and its end."""
    return (*(level for level in levels if level < steps), steps)


class Halving(BasePruner):
    """Asynchronous successive halving by the values at rungs; with several brackets, bracket b begins at rung b."""

    def __init__(self, levels: Sequence[int], *, brackets: int = 1) -> None:
        self.levels = tuple(levels)
        self.brackets = min(brackets, len(self.levels))

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether the trial stops at its last reported step; never between rungs."""
        if not trial.intermediate_values:
            return False
        rung = self.rung_at(max(trial.intermediate_values))
        if rung is None:
            return False
        lowest = study.direction == StudyDirection.MINIMIZE
        return not self.passes(trial, rung, study.get_trials(deepcopy=False), lowest=lowest)

    def rung_at(self, step: int) -> int | None:
        """The number of the rung at a step; None between rungs, and at the last, where trials end."""
        return self.levels.index(step) if step in self.levels[:-1] else None

    def bracket(self, number: int) -> int:
        """The bracket of a trial: brackets that stop more take more trials, as in Hyperband, evenly mixed, with large
        candidates and small ones in each."""
        if self.brackets == 1:
            return 0
        most = len(self.levels) - 1
        weights = [math.ceil((most + 1) * ETA ** (most - b) / (most - b + 1)) for b in range(self.brackets)]
        position = ((0.5 + number * SILVER) % 1) * sum(weights)
        bracket = 0
        while bracket < self.brackets - 1 and position >= weights[bracket]:
            position -= weights[bracket]
            bracket += 1
        return bracket

    def passes(self, trial: FrozenTrial, rung: int, trials: Iterable[FrozenTrial], *, lowest: bool = False) -> bool:
        """Whether a trial with a value at a rung may go on beyond it, by all that have a value there."""
        everyone = [*(one for one in trials if one.number != trial.number), trial]
        return Standings(self, everyone, lowest=lowest).passes(trial, rung)


class Standings:
    """All trials of a study at one moment, as the rungs of a pruner see them; the highest values are best, or the
    lowest."""

    def __init__(self, halving: Halving, trials: Sequence[FrozenTrial], *, lowest: bool = False) -> None:
        self._halving = halving
        self._sign = -1 if lowest else 1
        self._continues = {trial.number: trial.user_attrs.get("continues") for trial in trials}
        self._by_bracket: dict[int, list[FrozenTrial]] = {}
        for trial in trials:
            self._by_bracket.setdefault(self._bracket(trial.number), []).append(trial)
        self._best: dict[tuple[int, int], frozenset[int]] = {}

    def passes(self, trial: FrozenTrial, rung: int) -> bool:
        """Whether one of them may go on beyond a rung."""
        bracket = self._bracket(trial.number)
        if rung < bracket or (rung == bracket and _starts_slowly(trial)):
            return True
        if rung == bracket and self._first_of_a_method(trial, bracket, self._halving.levels[rung + 1]):
            return True
        return trial.number in self._among_best(bracket, rung)

    def _bracket(self, number: int) -> int:
        """That of a trial, or of the first of those that it goes on with."""
        before = self._continues.get(number)
        return self._halving.bracket(number) if before is None else self._bracket(before)

    def _among_best(self, bracket: int, rung: int) -> frozenset[int]:
        """The numbers of those that are among the best 1/eta of a bracket at a rung; of equals, all."""
        if (bracket, rung) not in self._best:
            step = self._halving.levels[rung]
            here = [t for t in self._by_bracket[bracket] if _has_value(t, step) and _own(t, step)]
            better = rankdata(_places(here, step, self._sign), method="min") - 1
            most = max(1, len(here) // ETA)
            self._best[bracket, rung] = frozenset(t.number for t, n in zip(here, better, strict=True) if n < most)
        return self._best[bracket, rung]

    def _first_of_a_method(self, trial: FrozenTrial, bracket: int, next_step: int) -> bool:
        """Whether no rival with one of the trial's methods has come beyond the first rung, or is on its way."""
        beyond: set[str] = set()
        for rival in self._by_bracket[bracket]:
            if rival.number == trial.number or not rival.intermediate_values:
                continue
            if max(rival.intermediate_values) >= next_step or not _stopped(rival):
                beyond.update(rival.user_attrs.get("methods", ()))
        return not beyond.issuperset(trial.user_attrs.get("methods", ()))


def _places(trials: Sequence[FrozenTrial], step: int, sign: int) -> NDArray[np.float64]:
    """Where each stands at a step, best lowest: its rank by score, and that by log-loss on top where all have one."""
    found = rankdata([-sign * trial.intermediate_values[step] for trial in trials])
    losses = [_log_loss(trial, step) for trial in trials]
    return np.asarray(found + rankdata(losses) if None not in losses else found)


def _log_loss(trial: FrozenTrial, step: int) -> float | None:
    """On validation, of the right label."""
    curve: Iterable[dict[str, Any]] = trial.user_attrs.get("curve", ())
    return next((point.get("log_loss") for point in curve if point["step"] == step), None)


def _starts_slowly(trial: FrozenTrial) -> bool:
    methods = trial.user_attrs.get("methods", ())
    return bool(methods) and all(spec(method).starts_slowly for method in methods)


def _stopped(trial: FrozenTrial) -> bool:
    return trial.state.name in ("PRUNED", "FAIL")


def _has_value(trial: FrozenTrial, step: int) -> bool:
    """Whether a trial has a value at a step; NaN is none: it would leave no order among the others."""
    return not math.isnan(trial.intermediate_values.get(step, math.nan))


def _own(trial: FrozenTrial, step: int) -> bool:
    """Whether a value is the trial's own, and not that of the stopped trial that it goes on with."""
    return bool(step > trial.user_attrs.get("began_at", 0))


PRUNERS: dict[str, tuple[str, Callable[[Sequence[int]], BasePruner]]] = {
    "asha": ("asynchronous successive halving", lambda levels: Halving(levels)),
    "hyperband": (
        "halving in brackets, some of which begin later",
        lambda levels: Halving(levels, brackets=len(levels)),
    ),
    "none": ("every trial trains to its end", lambda levels: NopPruner()),
}


def pruner(name: str, levels: Sequence[int]) -> BasePruner:
    """The pruner of that name over these rungs.

    Raises:
        UserError: there is none.
    """
    if name not in PRUNERS:
        raise one_of("pruner", name, tuple(PRUNERS))
    return PRUNERS[name][1](levels)
