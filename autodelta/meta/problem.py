"""What the meta-learner sees of any table of trials: configurations as sets of tokens, tasks as features and scores.

Nothing here knows what a configuration is. ``autodelta.meta.compositions`` brings compositions of deltas into this
form; another table needs an adapter of its own and no other code."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from autodelta.meta.squash import scale_of

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

FEW_TASKS, FEW_POINTS = 4, 4  # sources below which nothing can be learned across tasks


class NoTransfer(ValueError):
    """Why the past says nothing here: one line. A search that meets it goes on without transfer, and says so."""


@dataclass(frozen=True)
class Layout:
    """The names of all columns; a model serves configurations and tasks of its own layout alone."""

    kinds: tuple[str, ...]  # the first columns of a token: exactly one of them is 1
    values: tuple[str, ...]  # its other columns
    settings: tuple[str, ...]  # of a configuration as a whole
    features: tuple[str, ...]  # of a task

    def check(self, other: "Layout") -> None:
        """Raises NoTransfer, with the first column that differs, unless the two are the same."""
        for part in ("kinds", "values", "settings", "features"):
            mine, found = getattr(self, part), getattr(other, part)
            if mine != found:
                odd = next(iter(sorted(set(mine) ^ set(found))), "their order")
                raise NoTransfer(f"the records are of another space: {part} differ in {odd!r}")


@dataclass(frozen=True)
class Configurations:
    """N configurations, each a set of at most T tokens and a vector of settings."""

    keys: tuple[str, ...]  # no two alike
    tokens: Floats  # (N, T, kinds + values), 0 where there is none
    present: Flags  # (N, T)
    settings: Floats  # (N, settings)

    def __len__(self) -> int:
        return len(self.keys)

    def take(self, rows: Sequence[int] | Integers) -> "Configurations":
        """Those of some rows, in their order."""
        at = np.asarray(rows, dtype=np.int64)
        return Configurations(tuple(self.keys[row] for row in at), self.tokens[at], self.present[at], self.settings[at])


def gathered(layout: Layout, found: Iterable[tuple[str, Sequence[Floats], Floats]]) -> Configurations:
    """Configurations from (key, tokens, settings), padded to the largest set.

    Raises:
        NoTransfer: a vector is not as long as the layout says, or holds something that is no finite number.
    """
    rows = list(found)
    most = max((len(tokens) for _, tokens, _ in rows), default=1)
    width = len(layout.kinds) + len(layout.values)
    tokens, present = np.zeros((len(rows), most, width)), np.zeros((len(rows), most), dtype=bool)
    settings = np.zeros((len(rows), len(layout.settings)))
    for row, (key, vectors, vector) in enumerate(rows):
        if any(len(token) != width for token in vectors) or len(vector) != len(layout.settings):
            raise NoTransfer(f"configuration {key!r} does not have the columns of its layout")
        tokens[row, : len(vectors)] = np.reshape(vectors, (len(vectors), width))
        present[row, : len(vectors)] = True
        settings[row] = vector
    if not (np.isfinite(tokens).all() and np.isfinite(settings).all()):
        raise NoTransfer("a configuration holds something that is no finite number")
    return Configurations(tuple(key for key, _, _ in rows), tokens, present, settings)


@dataclass(frozen=True)
class Points:
    """Observed scores, higher is better: n points of trials of the configurations that ``rows`` names."""

    rows: Integers  # (n,) into some configurations
    rungs: Floats  # (n,) share of its steps that a trial had done, in (0, 1]
    scores: Floats  # (n,)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def ended(self) -> Flags:
        """(n,) Which points are the end of a trial."""
        return self.rungs >= 1.0

    @classmethod
    def of_ends(cls, rows: Sequence[int] | Integers, scores: Sequence[float] | Floats) -> "Points":
        """Points of trials that were trained to the end."""
        at = np.asarray(rows, dtype=np.int64)
        return cls(at, np.ones(len(at)), np.asarray(scores, dtype=np.float64))


@dataclass(frozen=True)
class Source:
    """One task of the past."""

    name: str
    family: str  # tasks of one family are never on both sides of a fold
    features: Floats  # (features,), NaN where one is not known
    points: Points
    log_seconds: Floats = field(default_factory=lambda: np.empty(0))  # (n,) of the whole trial, NaN where not known
    log_bytes: Floats = field(default_factory=lambda: np.empty(0))  # (n,)

    def scaled(self) -> tuple[float, float]:
        """Offset and scale of its scores, by the ends of its trials."""
        return scale_of(self.points.scores[self.points.ended])


@dataclass(frozen=True)
class Sources:
    """Tasks of the past, all on the same configurations."""

    layout: Layout
    configurations: Configurations
    tasks: tuple[Source, ...]

    def without(self, left_out: Iterable[int]) -> "Sources":
        """The same with some tasks left out, by their number."""
        gone = set(left_out)
        kept = tuple(task for number, task in enumerate(self.tasks) if number not in gone)
        return Sources(self.layout, self.configurations, kept)

    def usable(self) -> "Sources":
        """The tasks that have something to teach: enough ends of trials, and scores that are not all the same.

        Raises:
            NoTransfer: too few such tasks.
        """
        kept = tuple(task for task in self.tasks if _teaches(task))
        if len(kept) < FEW_TASKS:
            raise NoTransfer(
                f"{len(kept)} of {len(self.tasks)} recorded tasks have {FEW_POINTS} finished trials with scores that "
                f"differ; {FEW_TASKS} are needed"
            )
        return Sources(self.layout, self.configurations, kept)


def _teaches(task: Source) -> bool:
    ends = task.points.scores[task.points.ended]
    return len(ends) >= FEW_POINTS and bool(np.isfinite(task.points.scores).all()) and float(np.ptp(ends)) > 0


def known_features(layout: Layout, features: Mapping[str, float]) -> Floats:
    """A task's features in the order of a layout, (features,).

    Raises:
        NoTransfer: one is missing, or no finite number.
    """
    for name in layout.features:
        if not math.isfinite(features.get(name, math.nan)):
            raise NoTransfer(f"the task has no feature {name!r}")
    return np.array([features[name] for name in layout.features], dtype=np.float64)
