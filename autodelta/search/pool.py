"""The candidates of a recorded table as a search may choose among them: ranked by the sampler, each asked for once."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from autodelta.candidate import Candidate
from autodelta.errors import UserError
from autodelta.search.samplers import PoolEntry, Rank
from autodelta.space import Infeasible, Space


class Pool:
    """A plan for ``Study``: the candidate that a sampler wants most of those that are left; equals are drawn from."""

    def __init__(self, candidates: Sequence[tuple[Candidate, PoolEntry]], rank: Rank) -> None:
        self._left = list(candidates)
        self._rank = rank

    def __call__(self, study: Study, seed: int) -> Candidate | None:
        """The next candidate; None when all have been tried."""
        if not self._left:
            return None
        wanted = self._rank(study, [entry for _, entry in self._left], seed)
        order = np.random.default_rng(seed).permutation(len(self._left))
        return self._left.pop(order[np.argmax(wanted[order])])[0]


def entries(space: Space, candidates: Iterable[Candidate]) -> list[tuple[Candidate, PoolEntry]]:
    """Candidates with the parameters that they have in a space.

    Raises:
        UserError: one of them lies outside of the space.
    """
    found = []
    for candidate in candidates:
        trial = _Recording(space.to_params(candidate))
        try:
            inside = space.suggest(trial) == candidate
        except Infeasible:
            inside = False
        if not inside:
            raise UserError(f"the candidate {candidate.key} breaks a constraint of the space {space.name!r}")
        found.append((candidate, PoolEntry(trial.params, trial.distributions, candidate)))
    return found


class _Recording:
    """A trial that has given parameters, and notes what each of them might have been."""

    number = 0

    def __init__(self, params: Mapping[str, Any]) -> None:
        self.params = params
        self.distributions: dict[str, BaseDistribution] = {}
        self.user_attrs: dict[str, Any] = {"cap": None}

    def set_user_attr(self, key: str, value: Any) -> None:
        self.user_attrs[key] = value

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        self.distributions[name] = CategoricalDistribution(choices)
        return self.params[name]

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        self.distributions[name] = FloatDistribution(low, high, log=log, step=step)
        return float(self.params[name])

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        self.distributions[name] = IntDistribution(low, high, log=log, step=step)
        return int(self.params[name])
