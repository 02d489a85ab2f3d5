"""The public table of 200 tasks x 219 scikit-learn configurations as sources and unseen tasks, for the scripts
beside."""

import csv
import gzip
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from autodelta.meta.problem import Configurations, Floats, Layout, Points, Source, Sources, gathered

SOURCES, UNSEEN, OBSERVED = 60, 60, 100  # the protocol of the table's README
LOGS = ("C", "alpha", "learning_rate", "learning_rate_init", "min_samples_split", "n_estimators", "n_neighbors")


@dataclass(frozen=True)
class Table:
    """All of it; scores are errors with the sign turned."""

    layout: Layout
    configurations: Configurations
    parameters: tuple[dict[str, Any], ...]  # of each configuration, with its algorithm
    tasks: tuple[str, ...]
    scores: Floats  # (tasks, configurations)
    log_seconds: Floats
    features: Floats  # (tasks, features)


def read(folder: Path) -> Table:
    """The table in a folder that holds `error.csv.gz` and the others."""
    _, tasks, errors = _columns(folder / "error.csv.gz")
    _, _, seconds = _columns(folder / "runtime.csv.gz")
    names, _, features = _columns(folder / "features.csv.gz")
    found = json.loads((folder / "configurations.json").read_text())
    layout, configurations = _encoded(found, names)
    parameters = tuple({"algorithm": one["algorithm"], **one["hyperparameters"]} for one in found)
    scores = -np.where(np.isnan(errors), np.nanmax(errors, axis=0), errors)
    return Table(layout, configurations, parameters, tuple(tasks), scores, np.log(seconds), features)


@dataclass(frozen=True)
class Split:
    """Which tasks are the past, and what was tried on them; and which are unseen."""

    sources: np.ndarray[Any, np.dtype[np.int64]]
    observed: tuple[np.ndarray[Any, np.dtype[np.int64]], ...]
    unseen: np.ndarray[Any, np.dtype[np.int64]]


def split(table: Table, seed: int) -> Split:
    """The split of a seed."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(table.tasks))
    observed = tuple(rng.choice(len(table.configurations), OBSERVED, replace=False) for _ in range(SOURCES))
    return Split(order[:SOURCES], observed, order[SOURCES : SOURCES + UNSEEN])


def sources(table: Table, found: Split, seed: int, *, how: str = "clean") -> Sources:
    """The past of a split, as it is or misleading.

    `flipped`: scores turned about each task's mean, which leaves offset and scale as they were, so that only the order
    gives it away. `shuffled`: each task's scores permuted. `unrelated`: scores of a smooth random function of the
    configurations, the same for all tasks, with the tasks' own offset and scale: a past that agrees with itself and has
    nothing to do with what comes.
    """
    rng = np.random.default_rng((seed, 1))
    foreign = _foreign(table, rng)
    tasks = []
    for task, observed in zip(found.sources, found.observed, strict=True):
        scores = table.scores[task, observed]
        if how == "flipped":
            scores = 2 * scores.mean() - scores
        elif how == "shuffled":
            scores = rng.permutation(scores)
        elif how == "unrelated":
            other = foreign[observed] + 0.5 * rng.normal(size=len(observed))
            scores = scores.mean() + scores.std() * (other - other.mean()) / other.std()
        tasks.append(
            Source(
                name=table.tasks[task],
                family=table.tasks[task],
                features=table.features[task],
                points=Points.of_ends(observed, scores),
                log_seconds=table.log_seconds[task, observed],
            )
        )
    return Sources(table.layout, table.configurations, tuple(tasks))


def regret(table: Table, task: int, rows: list[int]) -> Floats:
    """Normalised regret after each of the trials."""
    scores = table.scores[task]
    best = np.maximum.accumulate(scores[rows])
    return np.asarray((scores.max() - best) / (scores.max() - scores.min()))


def _foreign(table: Table, rng: np.random.Generator) -> Floats:
    tokens = table.configurations.tokens[:, 0]
    hidden = np.tanh(tokens / np.maximum(tokens.std(axis=0), 1e-9) @ rng.normal(size=(tokens.shape[1], 16)) * 0.5)
    return np.asarray(hidden @ rng.normal(size=16))


def _columns(path: Path) -> tuple[list[str], list[str], Floats]:
    with gzip.open(path, "rt", encoding="utf8") as file:
        rows = list(csv.reader(file))
    values = [[float(value) if value else math.nan for value in row[1:]] for row in rows[1:]]
    return rows[0][1:], [row[0] for row in rows[1:]], np.array(values)


def _encoded(found: list[dict[str, Any]], features: list[str]) -> tuple[Layout, Configurations]:
    """One token a configuration: the algorithm; each hyper-parameter as a number or by choice, and if it is there."""
    kinds = tuple(sorted({one["algorithm"] for one in found}))
    columns: list[tuple[str, str]] = []
    for name in sorted({name for one in found for name in one["hyperparameters"]}):
        values = [one["hyperparameters"][name] for one in found if name in one["hyperparameters"]]
        if any(_is_number(value) for value in values):
            columns += [(name, "number"), (name, "present"), (name, "share")]
        columns += [(name, choice) for choice in sorted({str(value) for value in values if not _is_number(value)})]
    rows = []
    for one in found:
        kind = [float(one["algorithm"] == name) for name in kinds]
        values = [_value(one["hyperparameters"].get(name, ""), name, what) for name, what in columns]
        rows.append((one["id"], [np.array(kind + values)], np.zeros(0)))
    layout = Layout(kinds, tuple(f"{name}: {what}" for name, what in columns), (), tuple(features))
    return layout, gathered(layout, rows)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _value(value: Any, name: str, what: str) -> float:
    number = _is_number(value)
    if what == "number":
        return (math.log(value) if name in LOGS else float(value)) if number else 0.0
    if what == "present":
        return float(number)
    if what == "share":  # `min_samples_split` below 1 is a share of the rows
        return float(number and isinstance(value, float) and value < 1)
    return float(str(value) == what)
