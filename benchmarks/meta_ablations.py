"""What is each part of the meta-learner good for? Searches with `meta` on our table, one part left out at a time.

    python benchmarks/meta_ablations.py --table DIR [--jobs 2]

Models are fitted to folds of tasks that leave the family of the judged task out: as they ship, to the ends of trials
alone, without their curves, and to one seed of each candidate. A search chooses by the one validation score of each
candidate, hands over what it believes to be best (without belief: the best score), and is judged by the mean test score
over repeats: regret normalised by task, 0 for the best candidate of the pool, 1 for the worst. Intervals of the
difference to the whole: 95 %, families of tasks drawn again, and searches of each task. Of all tasks that have enough
trials, and of those among them that tell candidates from seeds (``signal_tasks.py``).
"""

import argparse
import csv
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
from meta_on_our_table import judged
from signal_tasks import signals

from autodelta.meta.compositions import sources
from autodelta.meta.fitting import fit
from autodelta.meta.folds import family, folds
from autodelta.meta.model import Model
from autodelta.meta.network import picked
from autodelta.meta.on_task import OnTask
from autodelta.meta.policies import ask, handed_over
from autodelta.meta.problem import Configurations, Flags, Floats, Integers, Points, Source, Sources
from autodelta.meta.records import Record, Table, read
from autodelta.studies.regret import curves, normalised, resampled

RESULTS = Path(__file__).parent / "results"
POINTS = (1, 3, 5, 10)


class Part(NamedTuple):
    """A policy, and how a model is put on a task without a part."""

    policy: str
    on: Callable[[Model, Floats], OnTask]
    learned: str = "all"  # of the sources, one of LEARNED
    believes: bool = True  # what is handed over is what is believed to be best, not the best score


def _opened(model: Model, opening: int) -> Model:
    """With so many first trials of the portfolio, unless the past is not asked at all."""
    if model.found.opening is None:
        return model
    return replace(model, found=model.found.model_copy(update={"opening": opening}))


def _single(model: Model) -> Model:
    return replace(model, network=picked(model.network, [0]))


PARTS = {
    "whole": Part("meta", lambda model, features: model.on(features)),
    "without hypernetwork": Part("meta", lambda model, features: model.on(features, arms=("shared", "plain"))),
    "without shared prior": Part("meta", lambda model, features: model.on(features, arms=("hypernetwork", "plain"))),
    "without task features": Part("meta", lambda model, features: model.on(None)),
    "without ensemble": Part("meta", lambda model, features: _single(model).on(features)),
    "without portfolio": Part("meta", lambda model, features: _opened(model, 0).on(features)),
    "with three of the portfolio": Part("meta", lambda model, features: _opened(model, 3).on(features)),
    "without guard": Part("unguarded", lambda model, features: model.on(features)),
    "without belief": Part("meta", lambda model, features: model.on(features), believes=False),
    "without curves": Part("meta", lambda model, features: model.on(features), learned="without curves"),
    "without repeats": Part("meta", lambda model, features: model.on(features), learned="without repeats"),
}


class Subject(NamedTuple):
    """A task's pool, as a search sees it and as it is judged."""

    task: Source
    pool: Configurations
    scores: Floats  # (n,) the one validation score of each
    regret: Floats  # (n,) by the mean test score


def subject(known: Sources, task: Source, records: Sequence[Record]) -> Subject:
    """From the complete trials of a task, the first of each candidate."""
    rows = {key: row for row, key in enumerate(known.configurations.keys)}
    tests: dict[str, list[float]] = {}
    first: dict[str, float] = {}
    for record in records:
        if record.state == "complete" and record.test is not None:
            key = record.candidate.model_dump_json()
            tests.setdefault(key, []).append(record.test)
            if record.repeat == 0:
                first[key] = record.curve[-1].score
    regret = normalised({key: float(np.mean(tests[key])) for key in first})
    pool = known.configurations.take([rows[key] for key in first])
    return Subject(task, pool, np.array(list(first.values())), np.array([regret[key] for key in first]))


def searched(on: OnTask, part: Part, given: Subject, seed: int) -> list[float]:
    """Regret after each of the first trials of a search."""
    taken: Flags = np.zeros(len(given.pool), dtype=bool)
    found = []
    for trial in range(max(POINTS)):
        row = ask(part.policy, on, given.pool, taken, seed=seed * 1000 + trial).row
        taken[row] = True
        on.observe(given.pool, Points.of_ends([row], [given.scores[row]]))
        tried = np.flatnonzero(taken)
        believed = handed_over(part.policy, on, given.pool.take(tried)) if part.believes else None
        chosen = tried[np.argmax(given.scores[tried]) if believed is None else believed]
        found.append(float(given.regret[chosen]))
    return found


def without_curves(known: Sources) -> Sources:
    """The ends of trials alone."""
    return replace(known, tasks=tuple(_of_points(task, np.flatnonzero(task.points.ended)) for task in known.tasks))


def without_repeats(known: Sources) -> Sources:
    """The first point of each candidate and rung alone."""

    def first(task: Source) -> Source:
        pairs = np.stack([task.points.rows, task.points.rungs])
        return _of_points(task, np.sort(np.unique(pairs, axis=1, return_index=True)[1]))

    return replace(known, tasks=tuple(map(first, known.tasks)))


def _of_points(task: Source, at: Integers) -> Source:
    points = Points(task.points.rows[at], task.points.rungs[at], task.points.scores[at])
    return replace(task, points=points, log_seconds=task.log_seconds[at], log_bytes=task.log_bytes[at])


LEARNED: dict[str, Callable[[Sources], Sources]] = {
    "all": lambda known: known,
    "without curves": without_curves,
    "without repeats": without_repeats,
}


def of_fold(table: Table, number: int, out: int, searches: int, seed: int) -> dict[str, dict[str, list[list[float]]]]:
    """By task of a fold and part, the searches' regrets, (searches, trials)."""
    known = sources(table)
    fold = folds([task.family for task in known.tasks], number, seed=seed)
    inside = np.flatnonzero(fold == out)
    others = known.without(inside.tolist()).usable()
    models = {name: fit(of(others), seed=seed) for name, of in LEARNED.items()}
    found = {}
    for at in inside:
        given = subject(known, known.tasks[at], table.of(known.tasks[at].name))
        found[given.task.name] = {
            name: [
                searched(part.on(models[part.learned], given.task.features), part, given, int(at) * 100 + search)
                for search in range(searches)
            ]
            for name, part in PARTS.items()
        }
    return found


def rows(regrets: dict[str, dict[str, list[list[float]]]]) -> Iterator[list[str]]:
    """Every search as a line of a CSV, below a head."""
    yield ["task", "part", "search", *(f"@{point}" for point in POINTS)]
    for task, parts in regrets.items():
        for part, searches in parts.items():
            for number, found in enumerate(searches):
                yield [task, part, str(number), *(f"{found[point - 1]:.4f}" for point in POINTS)]


def lines(regrets: dict[str, dict[str, list[list[float]]]], tasks: Sequence[str], said: str) -> list[str]:
    """The table in Markdown, of some of the tasks."""
    found = np.array([[regrets[task][name] for task in tasks] for name in PARTS])  # (parts, tasks, searches, trials)
    found = found[..., [point - 1 for point in POINTS]]
    families = [family(task) for task in tasks]
    drawn = curves(found, resampled(families, found.shape[2]))  # (draws, parts, points)
    means = found.mean(axis=(1, 2))
    head = " | ".join(f"@{point}" for point in POINTS)
    rows = [
        f"{said}: {len(tasks)}, of {len(set(families))} families. Normalised regret, and its excess over the whole:"
    ]
    rows += ["", f"| | {head} |", "|---" * (len(POINTS) + 1) + "|"]
    for place, name in enumerate(PARTS):
        cells = [f"{mean:.3f}" for mean in means[place]]
        if place:  # the whole stands first
            low, high = np.quantile(drawn[:, place] - drawn[:, 0], [0.025, 0.975], axis=0)
            bounds = zip(cells, means[place] - means[0], low, high, strict=True)
            cells = [f"{cell} ({more:+.3f}, {a:+.3f} to {b:+.3f})" for cell, more, a, b in bounds]
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, required=True, help="a folder that `autodelta collect` wrote or writes")
    parser.add_argument("--searches", type=int, default=3)
    parser.add_argument("--folds", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS / "meta_ablations", help="without .md and .csv")
    asked = parser.parse_args()
    table, _ = judged(read(asked.table))
    number = min(asked.folds, len({task.family for task in sources(table).tasks}))
    given = [(table, number, out, asked.searches, asked.seed) for out in range(number)]
    found: dict[str, dict[str, list[list[float]]]] = {}
    with ProcessPoolExecutor(asked.jobs, mp_context=get_context("spawn")) as pool:
        for done in pool.map(of_fold, *zip(*given, strict=True)):
            found |= done
            print(f"{len(found)} tasks", flush=True)
    with asked.out.with_suffix(".csv").open("w", newline="", encoding="utf8") as file:
        csv.writer(file).writerows(rows(found))
    clear = [one.task for one in signals(table.records) if one.clear and one.task in found]
    text = "\n".join(
        [
            f"<!-- benchmarks/meta_ablations.py, {asked.searches} searches a task -->",
            *lines(found, list(found), "All tasks"),
            "",
            *lines(found, clear, "Tasks that tell candidates from seeds"),
        ]
    )
    asked.out.with_suffix(".md").write_text(text + "\n", encoding="utf8")
    print(text)


if __name__ == "__main__":
    main()
