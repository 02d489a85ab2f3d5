"""Samplers and pruners compared on a recorded table: many simulated searches a task, the same for all.

A search chooses by the one noisy validation score of each candidate's first repeat: it hands over the best of them or,
where it knows other tasks, what it believes to be best given all of them, as a search does before it confirms
(``autodelta.search.believed``). What it hands over is judged by the mean test score over the candidate's repeats, as
regret: 0 for the table's best candidate on that task, 1 for its worst.
"""

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from pydantic import PositiveInt

from autodelta.candidate import Candidate
from autodelta.engine import devices
from autodelta.errors import UserError, one_of
from autodelta.files import put_text
from autodelta.frozen import Frozen
from autodelta.meta.folds import family
from autodelta.meta.records import Record, Table, read
from autodelta.search.budget import Budget
from autodelta.search.executors.table import Replayed, replayed
from autodelta.search.pool import entries
from autodelta.search.pruning import pruner as pruner_named
from autodelta.search.samplers import PoolEntry, Rank
from autodelta.search.samplers import names as sampler_names
from autodelta.search.simulation import HandOver, Moment, rankable, ranking, simulate
from autodelta.space import Space
from autodelta.studies.pasts import Taught, handing_over, taught, transferring
from autodelta.studies.pasts import ranking as taught_ranking
from autodelta.studies.regret import Floats, band, held, normalised, ranks, resampled

POINTS = 40  # of a curve along the budget
MOST_TRIALS = 50


class Bench(Frozen):
    """What is compared, and how often. Every search of a task may spend as much as ``full_trials`` average trials."""

    table: Path
    samplers: tuple[str, ...] = ("random", "tpe", "gp")
    pruners: tuple[str, ...] = ("none", "asha", "hyperband")
    searches: PositiveInt = 100  # seeds a task and method
    workers: PositiveInt = 1
    full_trials: PositiveInt | None = None  # None: half of the candidates, at most 50
    space: str | None = None  # None: the one that the table was collected from
    seed: int = 0
    folds: PositiveInt = 10  # of tasks, for samplers that learn from other ones
    jobs: PositiveInt = 1
    points: PositiveInt = POINTS

    @property
    def methods(self) -> tuple[tuple[str, str], ...]:
        """Every sampler with every pruner."""
        return tuple((sampler, pruner) for sampler in self.samplers for pruner in self.pruners)


@dataclass(frozen=True)
class Subject:
    """One task of a table as searches meet it."""

    task: str
    space: Space
    pool: list[tuple[Candidate, PoolEntry]]
    trials: dict[str, Replayed]
    regret: dict[str, float]  # of each candidate that a search may hand over
    full_trials: int  # the budget, in average trials
    full_seconds: float  # what it comes to, in device-seconds
    full_steps: float  # and in steps
    ranks: Mapping[str, Rank]  # by a sampler's name, of those that learn from other tasks
    hands: Mapping[str, HandOver | None]  # the same


@dataclass(frozen=True)
class Axis:
    """Regret along one measure of effort: values of shape (methods, tasks, searches, points)."""

    name: str
    grid: Floats
    regret: Floats


@dataclass(frozen=True)
class Comparison:
    """What came out of a bench."""

    bench: Bench
    tasks: tuple[str, ...]
    full_trials: tuple[int, ...]  # that a search of each task may spend
    axes: tuple[Axis, ...]
    # Of each search, (methods, tasks, searches): trials that ended, stopped ones too; steps trained, as on the axis.
    ended: Floats
    steps: Floats

    def rows(self) -> Iterator[dict[str, Any]]:
        """The curves as plain rows: effort, method, mean regret and mean rank, each with its 95 % interval."""
        weights = resampled([family(task) for task in self.tasks], self.bench.searches)
        for axis in self.axes:
            found = {"regret": band(axis.regret, weights), "rank": band(ranks(axis.regret), weights)}
            for number, (sampler, pruner) in enumerate(self.bench.methods):
                for point, at in enumerate(axis.grid):
                    row: dict[str, Any] = {"axis": axis.name, "at": round(float(at), 6)}
                    row |= {"sampler": sampler, "pruner": pruner}
                    for name, curve in found.items():
                        row[name] = round(float(curve.mean[number, point]), 6)
                        row[f"{name}_low"] = round(float(curve.low[number, point]), 6)
                        row[f"{name}_high"] = round(float(curve.high[number, point]), 6)
                    yield row

    def as_json(self) -> dict[str, Any]:
        """All of it, for programs."""
        return {
            "bench": self.bench.model_dump(mode="json"),
            "tasks": list(self.tasks),
            "full_trials": list(self.full_trials),
            "axes": {
                "trials": "trials that have ended, stopped ones too",
                "steps": "share of the steps that the budget's full trials have",
                "seconds": "share of the budget in device-seconds",
            },
            "trials_a_search": {
                f"{sampler}+{pruner}": float(self.ended[number].mean())
                for number, (sampler, pruner) in enumerate(self.bench.methods)
            },
            "curves": list(self.rows()),
        }


def compare(bench: Bench, *, say: Callable[[str], None] = lambda text: None) -> Comparison:
    """Simulates all searches; the same seeds for all methods. Samplers that learn from other tasks learn from those of
    the table, without the family of the task that they are judged on.

    Raises:
        UserError: no name or one that is none, a table that cannot be read, one that does not fit the space, or one of
            too few tasks to learn from; there is no room for so many jobs.
    """
    devices.check_room(bench.jobs, "--jobs")
    for kind, names, example in (("sampler", bench.samplers, "random,tpe"), ("pruner", bench.pruners, "none,asha")):
        if not names:
            raise UserError(f"a bench needs a {kind} or more: none is named; for example {example}")
    past = [name for name in bench.samplers if name in transferring()]
    for name in bench.samplers:
        if name not in {*past, *sampler_names()}:
            raise one_of("sampler", name, {*transferring(), *rankable()})
        if name not in past:
            ranking(name)
    for name in bench.pruners:
        pruner_named(name, (1,))
    table = read(bench.table)
    with TemporaryDirectory() as folder:
        known = taught(table, Path(folder), folds=bench.folds, seed=bench.seed, say=say) if past else {}
        return _compared(bench, table, known)


def _compared(bench: Bench, table: Table, known: Mapping[str, Taught]) -> Comparison:
    tasks = tuple(dict.fromkeys(record.task for record in table.records))
    subjects = {task: subject(bench, table, task, known.get(task)) for task in tasks}
    trials = max(len(found.pool) for found in subjects.values())
    grids = {"trials": np.arange(1, trials + 1, dtype=float)}
    grids |= {name: np.linspace(0, 1, bench.points + 1)[1:] for name in ("steps", "seconds")}
    shape = len(bench.methods), len(tasks), bench.searches
    axes = tuple(Axis(name, grid, np.zeros((*shape, len(grid)))) for name, grid in grids.items())
    ended, steps = np.zeros(shape), np.zeros(shape)
    for task, search, number, moments in _simulated(bench, subjects, known):
        where = number, tasks.index(task), search
        if moments:
            ended[where] = moments[-1].trials
            steps[where] = moments[-1].steps / subjects[task].full_steps
        for axis, curve in zip(axes, _curves(moments, subjects[task], axes), strict=True):
            axis.regret[where] = curve
    return Comparison(bench, tasks, tuple(found.full_trials for found in subjects.values()), axes, ended, steps)


def subject(bench: Bench, table: Table, task: str, known: Taught | None = None) -> Subject:
    """A task of a table with all that its searches need.

    Raises:
        UserError: the table does not name its backbone, a candidate is not of the space, or one cannot be judged.
    """
    if table.about is None:
        raise UserError(f"the table {str(bench.table)!r} does not say which backbone it is of: table.json is missing")
    about = table.about
    own = Space.of_text(about.space_text, about.shape, name=about.space)
    space = own if bench.space is None else Space.load(bench.space, about.shape)
    records = table.of(task)
    first = [record for record in records if record.repeat == 0 and record.state != "pruned"]
    truth = _truth(records)
    whole = [record for record in first if record.state == "complete"]
    for record in whole:
        if record.candidate.key not in truth:
            raise UserError(f"task {task!r} of the table: candidate {record.candidate.key} was never scored on test")
    if not whole:
        raise UserError(f"task {task!r} of the table has no complete trial")
    full = bench.full_trials or min(MOST_TRIALS, (len(first) + 1) // 2)
    learning = [name for name in bench.samplers if name in transferring()]
    return Subject(
        task=task,
        space=space,
        pool=entries(space, (record.candidate for record in first)),
        trials={record.candidate.key: replayed(record) for record in first},
        regret=normalised({record.candidate.key: truth[record.candidate.key] for record in whole}),
        full_trials=full,
        full_seconds=full * fmean(record.device_seconds for record in whole),
        full_steps=full * fmean(record.candidate.training.steps for record in whole),
        ranks={name: taught_ranking(name, space, known) for name in learning if known},
        hands={name: handing_over(name, space, known) for name in learning if known},
    )


def _truth(records: Sequence[Record]) -> dict[str, float]:
    """The mean test score of every candidate over its repeats; those without one are left out."""
    scores: dict[str, list[float]] = {}
    for record in records:
        if record.state == "complete" and record.test is not None:
            scores.setdefault(record.candidate.key, []).append(record.test)
    return {key: fmean(values) for key, values in scores.items()}


# --- searches ------------------------------------------------------------------------------------------------------

_Found = tuple[str, int, int, tuple[Moment, ...]]  # task, search, method, what it found when


def _simulated(bench: Bench, subjects: dict[str, Subject], known: Mapping[str, Taught]) -> Iterator[_Found]:
    orders = [(task, search) for search in range(bench.searches) for task in subjects]
    if bench.jobs == 1:
        for task, search in orders:
            yield from _searched(bench, subjects[task], search)
        return
    given = bench, dict(known)
    with ProcessPoolExecutor(bench.jobs, mp_context=get_context("spawn"), initializer=_open, initargs=given) as pool:
        for found in pool.map(_ordered, orders, chunksize=max(1, len(orders) // (8 * bench.jobs))):
            yield from found


def _searched(bench: Bench, found: Subject, search: int) -> Iterator[_Found]:
    """One search of a task by every method."""
    budget = Budget(text=f"{found.full_seconds:.1f}cpu-s", cpu_seconds=found.full_seconds)
    for number, (sampler, pruner) in enumerate(bench.methods):
        simulated = simulate(
            found.space,
            found.pool,
            found.trials,
            budget,
            sampler_name=sampler,
            rank=found.ranks.get(sampler),
            hand_over=found.hands.get(sampler),
            pruner_name=pruner,
            seed=bench.seed + search,
            workers=bench.workers,
        )
        yield found.task, search, number, simulated.moments


_opened: tuple[Bench, Table, dict[str, Taught]] | None = None  # what a process of the pool works on
_subjects: dict[str, Subject] = {}


def _open(bench: Bench, known: dict[str, Taught]) -> None:
    global _opened
    _opened = bench, read(bench.table), known


def _ordered(order: tuple[str, int]) -> list[_Found]:
    assert _opened is not None
    task, search = order
    if task not in _subjects:
        bench, table, known = _opened
        _subjects[task] = subject(bench, table, task, known.get(task))
    return list(_searched(_opened[0], _subjects[task], search))


def _curves(moments: Sequence[Moment], found: Subject, axes: Sequence[Axis]) -> list[Floats]:
    """The regret of one search along every axis."""
    changed = [moment for moment in moments if moment.best is not None]
    regrets = [found.regret[moment.best] for moment in changed if moment.best is not None]
    effort = {
        "trials": [float(moment.trials) for moment in changed],
        "steps": [moment.steps / found.full_steps for moment in changed],
        "seconds": [moment.device_seconds / found.full_seconds for moment in changed],
    }
    return [held(effort[axis.name], regrets, axis.grid) for axis in axes]


def write_csv(comparison: Comparison, path: Path) -> None:
    """Writes the curves, a row for each point of each.

    Raises:
        UserError: nothing can be written there.
    """
    rows = list(comparison.rows())
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    try:
        put_text(path, text.getvalue())
    except OSError as error:
        raise UserError(f"cannot write the curves to {path}: {error.strerror}") from None
