"""A search space on a backbone: what it suggests to a trial, what it holds, and what it costs.

How candidates are drawn, and why so: docs/decisions/0005-drawing-candidates.md.
"""

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

from autodelta.candidate import Candidate, Delta, Training
from autodelta.errors import UserError
from autodelta.shape import BackboneShape
from autodelta.space._document import Document
from autodelta.space._domain import Domain, Trial, Value
from autodelta.space._grid import cells, listed
from autodelta.space._method import Method
from autodelta.space._mutation import mutated
from autodelta.space._plan import Plan
from autodelta.space._reading import checked, read
from autodelta.space._shipped import find
from autodelta.space._training import Settings
from autodelta.space._trials import FixedTrial, RandomTrial

if TYPE_CHECKING:
    import numpy as np

GOLDEN = (math.sqrt(5) - 1) / 2
TRIES = 10_000
BYTES_A_WEIGHT = 2  # in bf16


class Infeasible(ValueError):
    """A draw whose smallest form breaks a constraint of the space. It is not to be trained."""

    def __init__(self, reason: str, *, parameters: int, cap: int | None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.parameters = parameters
        self.cap = cap


class Space:
    """Candidates to choose from, bound to the shape of a backbone."""

    def __init__(self, plan: Plan, document: Document, *, name: str, shape: BackboneShape) -> None:
        self.name = name
        self.description = plan.description
        self.text = document.text
        self.shape = shape
        self.at_most = plan.cap
        self._document = document
        self._methods = {
            key: Method(key, method, shape=shape, document=document) for key, method in plan.methods.items()
        }
        self.settings = Settings(plan.training)
        bound = plan.constraints.trainable_parameters
        self.limit = None if bound is None else bound.parameters(shape.count_parameters())
        self.limits = plan.constraints.limits  # what a worker checks before it trains
        self._check_memory()
        self._least = {key: method.count(self._cheapest(method)) for key, method in self._methods.items()}
        # The share of keys that switch a method on: a half, or less where many methods compete for few places.
        self._threshold = 1 - min(0.5, (1 + self.at_most) / (2 * len(self._methods)))

    @classmethod
    def load(cls, name_or_path: str | Path, hf_config: Any) -> Self:
        """The space of that name or in that YAML file, bound to a backbone: its config, model or shape.

        Raises:
            UserError: no such space, a mistake in the file, or a space that is impossible on this backbone.
        """
        path = find(name_or_path)
        plan, document = read(path)
        return cls(plan, document, name=path.stem, shape=BackboneShape.of(hf_config))

    @classmethod
    def of_text(cls, text: str, hf_config: Any, *, name: str) -> Self:
        """The space that a text in YAML describes, as ``load`` would read it from a file of that name.

        Raises:
            UserError: as ``load``.
        """
        plan, document = checked(Document(name, text))
        return cls(plan, document, name=name, shape=BackboneShape.of(hf_config))

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that may be on, in the order of the file."""
        return tuple(self._methods)

    @cached_property
    def genes(self) -> Mapping[str, Domain]:
        """Every gene with what it may be, by its parameter's name, save the on/off keys of the methods."""
        own = {name: gene for method in self._methods.values() for name, gene in method.genes.items()}
        return MappingProxyType(own | self.settings.genes)

    def suggest(self, trial: Trial) -> Candidate:
        """The candidate that an Optuna trial's parameters describe, its sizes fitted under the trial's cap.

        The cap is the trial's user attribute ``cap`` where that is set (None: the constraint alone); otherwise it is
        drawn from the trial's number, and set.

        Raises:
            Infeasible: even the smallest sizes break a constraint.
        """
        deltas, training = self._drawn(trial)
        return Candidate(deltas=self._fitted(deltas, self._cap(trial, deltas)), training=training)

    def sample(self, rng: "np.random.Generator", *, number: int | None = None) -> Candidate:
        """A feasible candidate at random, from the distribution that ``suggest`` has under a random sampler; it keeps
        the cap of the trial of that ``number``, or of any.

        Raises:
            UserError: next to nothing in the space keeps its constraint.
        """
        for _ in range(TRIES):
            try:
                return self.suggest(RandomTrial(rng, number))
            except Infeasible:
                continue
        raise UserError(f"space {self.name!r}: none of {TRIES:,} draws has at most {self.limit:,} parameters")

    def from_params(self, params: Mapping[str, Value], *, cap: int | None = None) -> Candidate:
        """The candidate that the parameters of an Optuna trial describe, under the trial's cap.

        Raises:
            UserError: a parameter is missing, unknown, or has a value that the space lacks.
            Infeasible: even the smallest sizes break a constraint.
        """
        trial = FixedTrial(params, cap=cap)
        candidate = self.suggest(trial)
        unknown = sorted(set(params) - trial.asked)
        if unknown:
            raise UserError(f"space {self.name!r} did not ask for {unknown[0]!r}; it asked for: {sorted(trial.asked)}")
        return candidate

    def to_params(self, candidate: Candidate) -> dict[str, Value]:
        """Parameters from which ``from_params`` makes this candidate.

        Raises:
            UserError: the candidate lies outside of the space.
        """
        values = self._values(candidate)
        if values is None:
            raise UserError(f"the candidate {candidate.key} lies outside of the space {self.name!r}")
        asked = {name: value for name, value in values.items() if not self.genes[name].constant}
        return self.keys(candidate.methods) | asked

    def contains(self, candidate: Candidate) -> bool:
        """Whether the candidate is one that the space can suggest and that keeps its constraints."""
        return (
            self._values(candidate) is not None
            and len(candidate.deltas) <= self.at_most
            and self.problem(candidate.deltas) is None
        )

    def keeps_cap(self, candidate: Candidate, *, number: int) -> bool:
        """Whether a candidate of the space, proposed as the trial of this number, would keep its sizes."""
        return self.problem(candidate.deltas, cap=self._cap_at(number, candidate.deltas)) is None

    def mutate(self, candidate: Candidate, rng: "np.random.Generator") -> Candidate:
        """A feasible candidate that differs from this one in one gene: a method on, off or swapped, or one value.

        Raises:
            UserError: the candidate lies outside of the space, or the space has no other one.
        """
        return mutated(self, candidate, rng)

    def size(self) -> int | None:
        """The number of cells of the grid before its constraints are applied; None if there are endlessly many."""
        return cells(self)

    def grid(self) -> list[Candidate]:
        """Every candidate of a finite space that keeps the constraints, each once, single methods first.

        Raises:
            UserError: the space is not finite, or too large to be listed.
        """
        return listed(self)

    def keys(self, methods: Sequence[str]) -> dict[str, Value]:
        """Parameters that switch these methods on, and all others off."""
        if len(self._methods) == 1:
            return {}
        on, off = (1 + self._threshold) / 2, self._threshold / 2
        return {name: on if name in methods else off for name in self._methods}

    def draw(self, trial: Trial) -> Candidate:
        """The candidate that a trial's parameters describe as they are, whether it keeps the constraints or not."""
        deltas, training = self._drawn(trial)
        return Candidate(deltas=deltas, training=training)

    def problem(self, deltas: Sequence[Delta], *, cap: int | None = None) -> Infeasible | None:
        """Why these deltas break a constraint or a cap below it; None if they keep them all."""
        cap = _lower(cap, self.limit)
        parameters = self._count(deltas)
        for delta in deltas:
            reason = self._methods[delta.method].problem(delta)
            if reason:
                return Infeasible(reason, parameters=parameters, cap=cap)
        if cap is not None and parameters > cap:
            return Infeasible(f"{parameters:,} parameters, at most {cap:,} allowed", parameters=parameters, cap=cap)
        return None

    def affordable(self, methods: Sequence[str]) -> bool:
        """Whether these methods together, at their cheapest, keep the constraint."""
        return self.limit is None or sum(self._least[name] for name in methods) <= self.limit

    def method(self, name: str) -> Method:
        """The genes of one method."""
        return self._methods[name]

    def _drawn(self, trial: Trial) -> tuple[tuple[Delta, ...], Training]:
        deltas = tuple(self._methods[name].ask(trial) for name in self._switched_on(trial))
        return deltas, self.settings.ask(trial)

    def _switched_on(self, trial: Trial) -> list[str]:
        """The methods whose key lies above the threshold: the highest one at least, the highest few at most."""
        if len(self._methods) == 1:
            return list(self._methods)
        keys = {name: trial.suggest_float(name, 0.0, 1.0) for name in self._methods}
        ranked = sorted(self._methods, key=lambda name: -keys[name])
        chosen = [name for name in ranked if keys[name] >= self._threshold][: self.at_most] or ranked[:1]
        while not self.affordable(chosen):
            chosen.pop()
        return [name for name in self._methods if name in chosen]

    def _cap(self, trial: Trial, deltas: Sequence[Delta]) -> int | None:
        """The most parameters that the trial may train: half of the trials have the constraint alone, the other half
        a cap between their smallest and their largest sizes, evenly on a log scale."""
        if "cap" in trial.user_attrs:
            return _lower(trial.user_attrs["cap"], self.limit)
        cap = self._cap_at(trial.number, deltas)
        trial.set_user_attr("cap", cap)
        return cap

    def _cap_at(self, number: int, deltas: Sequence[Delta]) -> int | None:
        """The cap of the trial of this number, if it has these methods."""
        position = 2 * ((0.5 + number * GOLDEN) % 1)
        low, high = map(sum, zip(*(self._methods[delta.method].bounds(delta) for delta in deltas), strict=True))
        high = high if self.limit is None else min(high, self.limit)
        if position < 1 and low < high:
            return max(low, int(low ** (1 - position) * high**position))
        return self.limit

    def _fitted(self, deltas: Sequence[Delta], cap: int | None) -> tuple[Delta, ...]:
        """The deltas with sizes stepped down until they keep the cap, those of the largest delta first."""
        fitted = list(deltas)
        while (problem := self.problem(fitted, cap=cap)) is not None:
            unfit = [delta for delta in fitted if self._methods[delta.method].problem(delta)]
            for delta in sorted(unfit or fitted, key=lambda delta: -self._methods[delta.method].count(delta)):
                smaller = self._methods[delta.method].smaller(delta)
                if smaller is not None:
                    fitted[fitted.index(delta)] = smaller
                    break
            else:
                raise problem
        return tuple(fitted)

    def _count(self, deltas: Sequence[Delta]) -> int:
        return sum(self._methods[delta.method].count(delta) for delta in deltas)

    def _cheapest(self, method: Method) -> Delta:
        """The cheapest delta of a method, which must be possible on its own: one method alone is always allowed."""
        least = method.least()
        if least is None:
            raise self._document.error(("methods", method.name), f"no sizes fit this backbone: {method.obstacle()}")
        parameters = method.count(least)
        if self.limit is not None and parameters > self.limit:
            raise self._document.error(
                ("constraints", "trainable_parameters"),
                f"allows {self.limit:,} of the backbone's {self.shape.count_parameters():,} parameters, but "
                f"{method.name} needs at least {parameters:,}; allow more, or leave {method.name} out",
            )
        return least

    def _check_memory(self) -> None:
        """A limit below the backbone's weights in their narrowest dtype leaves nothing to search."""
        allowed, least = self.limits.memory_bytes, BYTES_A_WEIGHT * self.shape.count_parameters()
        if allowed is not None and allowed < least:
            raise self._document.error(
                ("constraints", "memory"),
                f"allows {allowed / 1e9:.3g} GB, but the backbone's weights alone take {least / 1e9:.3g} GB in bf16",
            )

    def _values(self, candidate: Candidate) -> dict[str, Value] | None:
        """The value of every gene of a candidate; None where it lies outside of the space."""
        values: dict[str, Value] = {}
        for delta in candidate.deltas:
            found = self._methods[delta.method].params(delta) if delta.method in self._methods else None
            if found is None or found.keys() & values.keys():
                return None
            values |= found
        own = self.settings.params(candidate.training)
        return None if own is None else values | own


def _lower(*caps: int | None) -> int | None:
    return min((cap for cap in caps if cap is not None), default=None)
