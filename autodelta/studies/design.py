"""Which trials a plan means: candidates spread evenly over sets of methods and over their genes, seeded, all feasible.

Sets of one, two and three methods take turns, and within a size the sets do, so that every beginning of the sequence is
balanced. The genes of one set are points of a scrambled Sobol sequence (Owen 1998, doi 10.1006/jcom.1998.0487): they
fill ranges of sizes and learning rates evenly however many points there will be. Asking for more adds to a design.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from itertools import combinations, islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from autodelta.candidate import Candidate
from autodelta.meta.records import Key
from autodelta.space import Infeasible, Space
from autodelta.studies.plan import Plan

AT_ONCE = 3  # methods in one candidate at most
POINTS = 256  # of a Sobol sequence, drawn at once
DULL = 200  # points in a row of one set that give nothing new: then the set is taken to be exhausted
SHARED = "shared"

Methods = tuple[str, ...]


class Trial(NamedTuple):
    """One trial of a design."""

    task: str  # as records name it
    candidate: Candidate
    repeat: int
    seed: int

    @property
    def key(self) -> Key:
        return self.task, self.candidate.key, self.repeat


def method_sets(space: Space, exhausted: Collection[Methods] = ()) -> Iterator[Methods]:
    """Sets of methods, sizes in turn; of a size, the set that itself, whose pairs and methods were had least so far.

    It has no end, save that sets found in ``exhausted`` are passed over; with all of them there it ends.
    """
    sizes = range(1, min(AT_ONCE, space.at_most) + 1)
    by_size = [[found for found in combinations(space.methods, size) if space.affordable(found)] for size in sizes]
    had: list[Counter[Methods]] = [Counter() for _ in by_size]
    uses: Counter[str] = Counter()
    while True:
        ended = True
        for sets, seen in zip(by_size, had, strict=True):
            left = [found for found in sets if found not in exhausted]
            if left:
                ended = False
                chosen = min(left, key=partial(_times, seen, uses))
                seen.update(_parts(chosen))
                uses.update(chosen)
                yield chosen
        if ended:
            return


def _parts(chosen: Methods) -> list[Methods]:
    return [part for size in range(1, len(chosen) + 1) for part in combinations(chosen, size)]


def _times(had: Counter[Methods], uses: Counter[str], chosen: Methods) -> list[int]:
    """How often the set itself was had, then its pairs, its methods, and its methods in sets of any size."""
    parts = [sum(had[part] for part in combinations(chosen, size)) for size in range(len(chosen), 0, -1)]
    return [*parts, sum(uses[method] for method in chosen)]


def candidates(space: Space, stream: str, *, seed: int, apart_from: Sequence[Candidate] = ()) -> Iterator[Candidate]:
    """Feasible candidates of a space, each once, in an order whose every beginning is balanced; ends with the space.

    Args:
        space: bound to a backbone.
        stream: its name; another name gives other candidates.
        seed: of the design.
        apart_from: candidates that are not to come again.
    """
    seen = set(apart_from)
    points: dict[Methods, Iterator[Candidate | None]] = {}
    exhausted: set[Methods] = set()
    for chosen in method_sets(space, exhausted):
        if chosen not in points:
            points[chosen] = _of_set(space, chosen, _number(seed, stream, *chosen))
        found = _first_new(points[chosen], seen)
        if found is None:
            exhausted.add(chosen)
        else:
            seen.add(found)
            yield found


def _first_new(points: Iterator[Candidate | None], seen: set[Candidate]) -> Candidate | None:
    for found in islice(points, DULL):
        if found is not None and found not in seen:
            return found
    return None


def _of_set(space: Space, chosen: Methods, seed: int) -> Iterator[Candidate | None]:
    """Candidates of one set of methods, without end; None where even the smallest sizes break a constraint."""
    genes = [name for name in space.genes if name.split(".", 1)[0] in (*chosen, "training")]
    genes.sort(key=lambda name: (not name.endswith("learning_rate"), name.startswith("training.")))
    fixed = space.keys(chosen)
    for point in _sobol(len(genes), seed):
        trial = PointTrial(fixed, dict(zip(genes, point, strict=True)))
        try:
            yield space.suggest(trial)
        except Infeasible:
            yield None


def _sobol(dimensions: int, seed: int) -> Iterator[NDArray[np.float64]]:
    from scipy.stats import qmc

    sequence = qmc.Sobol(dimensions, scramble=True, rng=np.random.default_rng(seed))
    while True:
        yield from np.clip(sequence.random(POINTS), 0.0, math.nextafter(1.0, 0.0))


class PointTrial:
    """A trial of a space whose answers are quantiles at one point of the unit cube; given values stay as they are."""

    def __init__(self, fixed: Mapping[str, Any], point: Mapping[str, float]) -> None:
        self.number = 0
        self.user_attrs: dict[str, Any] = {"cap": None}  # the constraint alone: sizes are spread by the point
        self._fixed = fixed
        self._point = point

    def set_user_attr(self, key: str, value: Any) -> None:
        self.user_attrs[key] = value

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return choices[int(self._point[name] * len(choices))]

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        if name in self._fixed:
            return float(self._fixed[name])
        share = float(self._point[name])
        if step is not None:
            return low + step * int(share * (round((high - low) / step) + 1))
        return low * (high / low) ** share if log else low + share * (high - low)

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        share = float(self._point[name])
        if log:
            drawn = round(math.exp(math.log(low - 0.5) + share * math.log((high + 0.5) / (low - 0.5))))
            return min(high, max(low, drawn))
        return low + step * int(share * ((high - low) // step + 1))


# --- trials ----------------------------------------------------------------------------------------------------------


def trials(plan: Plan, space: Space, tasks: Sequence[str]) -> dict[str, list[Trial]]:
    """The trials of a plan by task, in an order whose every beginning holds shared, fresh and repeated ones by share.

    Fewer than asked for where the space has no more candidates.
    """
    shared = list(islice(candidates(space, SHARED, seed=plan.seed), plan.shared))
    numbers = plan.fresh_by_task
    found = {}
    for task in tasks:
        fresh = list(islice(candidates(space, task, seed=plan.seed, apart_from=shared), numbers[task]))
        again = [
            (candidate, repeat)
            for candidate in shared[: plan.repeats.candidates]
            for repeat in range(1, plan.repeats.seeds)
        ]
        parts = ([(candidate, 0) for candidate in shared], [(candidate, 0) for candidate in fresh], again)
        found[task] = [
            Trial(task, candidate, repeat, _number(plan.seed, task, candidate.key, str(repeat)))
            for candidate, repeat in _mixed(parts)
        ]
    return found


def _mixed(parts: Sequence[Sequence[tuple[Candidate, int]]]) -> list[tuple[Candidate, int]]:
    """Several sequences as one, each evenly spread over it; a repeat stands behind the candidate's first trial."""
    placed = [
        ((number + 0.5) / len(part), which, number) for which, part in enumerate(parts) for number in range(len(part))
    ]
    return [parts[which][number] for _, which, number in sorted(placed)]


def _number(seed: int, *words: str) -> int:
    """A number of 31 bits that follows from all of these."""
    digest = hashlib.sha256("\n".join([str(seed), *words]).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
