"""Does the meta-learner know good compositions before the first trial? Every sampler ranking the same recorded pools.

    python benchmarks/meta_on_our_table.py --table DIR [--jobs 2]

Models are fitted to folds of tasks that leave the family of the judged task out. A search chooses by the one
validation score of each candidate: `meta`, `shared` and `hypernetwork` hand over what they believe to be best given
all of these, as a search that knows other tasks does; all others, and `meta-by-score`, the best score. What is handed
over is judged by the mean test score over repeats, as regret normalised by task: 0 for the best candidate of the
pool, 1 for the worst. Intervals: 95 %, families of tasks drawn again, and searches of each task. Better: one-sided
Wilcoxon, over tasks, and over families as tasks of one may be alike, of means over searches; Holm over all
comparisons of either. Until their tenth trial `tpe` and `gp` draw what `random` draws, by Optuna's defaults, so
comparisons at 1, 5 and 10 are three and not nine; those at 15, 20 and 25, adjusted by themselves, are with what they
choose by their models. A table that is still being collected will do: tasks with too few trials are left out, and
said.
"""

import argparse
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import wilcoxon
from signal_tasks import signals

from autodelta.errors import UserError
from autodelta.files import write_json
from autodelta.meta.folds import family
from autodelta.meta.records import Record, Table, read, write_table
from autodelta.studies.bench import Bench, Comparison, compare
from autodelta.studies.regret import Floats, band, curves, resampled

RESULTS = Path(__file__).parent / "results"
SAMPLERS = (
    "meta", "meta-by-score", "meta-per-second", "random", "tpe", "gp", "portfolio", "shared", "hypernetwork", "nearest",
)  # fmt: skip
BEATEN = ("random", "tpe", "gp")  # must be beaten, significantly
POINTS = (1, 5, 10)
LATER = (15, 20, 25)  # where these go by their models
TIMES = (1, 2, 3, 5, 10)  # of a whole trial on the mean
REACHED = 25  # trials, or all that there are, whose regret with TPE is to be reached sooner
LEAST = 12  # candidates that a task must have to be judged on


def judged(table: Table) -> tuple[Table, list[str]]:
    """The part of a table that searches can be judged on, and the tasks that were left out."""
    names = dict.fromkeys(record.task for record in table.records)
    kept = [
        name for name in names if len({record.candidate.key for record in table.of(name) if _whole(record)}) >= LEAST
    ]
    scored = {record.key[:2] for record in table.records if _whole(record)}
    records = tuple(
        record
        for record in table.records
        if record.task in kept and (record.state != "complete" or record.key[:2] in scored)
    )
    return Table(records=records, tasks=table.tasks, about=table.about), [name for name in names if name not in kept]


def _whole(record: Record) -> bool:
    return record.state == "complete" and record.test is not None


def on(found: Comparison, tasks: Collection[str]) -> Comparison:
    """The searches on some of the tasks."""
    at = [place for place, task in enumerate(found.tasks) if task in tasks]
    axes = tuple(replace(axis, regret=axis.regret[:, at]) for axis in found.axes)
    kept = tuple(found.tasks[place] for place in at)
    return replace(found, tasks=kept, axes=axes, ended=found.ended[:, at], steps=found.steps[:, at])


def answer(found: Comparison) -> dict[str, Any]:
    """What came out: regrets at some numbers of trials, p-values, and how soon TPE's regret is reached."""
    axis = next(one for one in found.axes if one.name == "trials")
    names = [sampler for sampler, _ in found.bench.methods]
    families = [family(task) for task in found.tasks]
    weights = resampled(families, found.bench.searches)
    bands, by_task = band(axis.regret, weights), axis.regret.mean(axis=2)
    drawn = curves(axis.regret, weights)
    last = min(REACHED, len(axis.grid))
    at = {point: min(point, last) - 1 for point in (*POINTS, *LATER, last)}
    mine = names.index("meta")
    regrets = {
        name: {
            str(point): [float(part[row, place]) for part in (bands.mean, bands.low, bands.high)]
            for point, place in at.items()
        }
        for row, name in enumerate(names)
    }
    better: dict[str, dict[str, float]] = {}
    for over, values in (("tasks", by_task), ("families", _by_family(by_task, families))):
        better[over] = {}
        for points in (POINTS, LATER):
            asked = {f"{name}@{point}": (names.index(name), at[point]) for name in BEATEN for point in points}
            found_p = [_p(values[mine, :, place] - values[other, :, place]) for other, place in asked.values()]
            better[over] |= dict(zip(asked, holm(found_p), strict=True))
    against = names.index("portfolio")
    behind = {point: drawn[:, mine, at[point]] - drawn[:, against, at[point]] for point in POINTS}
    goal = bands.mean[names.index("tpe"), at[last]]
    return {
        "tasks": len(found.tasks),
        "families": len(set(families)),
        "searches": found.bench.searches,
        "candidates": len(axis.grid),
        "last": last,
        "regret": regrets,
        "p_holm": better,
        "minus_portfolio": {
            str(point): [
                float(bands.mean[mine, at[point]] - bands.mean[against, at[point]]),
                *(float(bound) for bound in np.quantile(values, [0.025, 0.975])),
            ]
            for point, values in behind.items()
        },
        "regret_by_time": _by_time(found, weights),
        "trials_to_reach_tpe": {name: _reached(bands.mean[row], goal) for row, name in enumerate(names)},
    }


def _by_time(found: Comparison, weights: Floats) -> dict[str, dict[str, list[float]]]:
    """Mean regret with its interval once so many mean trials' time is spent; the budget is one of full trials."""
    axis = next(one for one in found.axes if one.name == "seconds")
    bands = band(axis.regret, weights)
    at = {time: int(np.argmin(np.abs(axis.grid * found.bench.full_trials - time))) for time in TIMES}
    return {
        sampler: {
            str(time): [float(part[row, place]) for part in (bands.mean, bands.low, bands.high)]
            for time, place in at.items()
        }
        for row, (sampler, _) in enumerate(found.bench.methods)
    }


def _by_family(values: Floats, families: Sequence[str]) -> Floats:
    """(methods, families, points): means over the tasks of each family."""
    names, at = np.unique(families, return_inverse=True)
    return np.stack([values[:, at == number].mean(axis=1) for number in range(len(names))], axis=1)


def _p(differences: Floats) -> float:
    """That meta is not better; 1 where nothing differs."""
    return float(wilcoxon(differences, alternative="less").pvalue) if np.any(differences) else 1.0


def holm(values: Sequence[float]) -> list[float]:
    """P-values adjusted for there being several (Holm 1979)."""
    order = np.argsort(values)
    steps = [(len(values) - place) * values[at] for place, at in enumerate(order)]
    found = np.empty(len(values))
    found[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    return [float(value) for value in found]


def _reached(curve: Floats, goal: float) -> int | None:
    places = np.flatnonzero(curve <= goal)
    return int(places[0]) + 1 if len(places) else None


def lines(found: dict[str, Any], said: str) -> list[str]:
    """The answer in Markdown, with the words that say of which tasks."""
    shown = (*POINTS, *LATER)
    head = " | ".join(f"@{point}" for point in found["regret"]["meta"])
    rows = [
        f"{said}: {found['tasks']}, of {found['families']} families, {found['candidates']} candidates at most, "
        f"{found['searches']} searches each.",
        "",
        f"| mean normalised regret | {head} | trials to TPE's regret at {found['last']} |",
        "|---" * (len(found["regret"]["meta"]) + 2) + "|",
    ]
    for name, values in found["regret"].items():
        cells = " | ".join(f"{mean:.3f} ({low:.3f}-{high:.3f})" for mean, low, high in values.values())
        reached = found["trials_to_reach_tpe"][name]
        rows.append(f"| {name} | {cells} | {'never' if reached is None else reached} |")
    rows += ["", "| better than | " + " | ".join(f"p @{point}" for point in shown) + " |"]
    rows.append("|---" * (len(shown) + 1) + "|")
    for over, values in found["p_holm"].items():
        for name in BEATEN:
            cells = " | ".join(f"{values[f'{name}@{point}']:.4f}" for point in shown)
            rows.append(f"| {name}, over {over} | {cells} |")
    behind = " | ".join(
        f"{mean:+.3f} ({low:+.3f} to {high:+.3f})" for mean, low, high in found["minus_portfolio"].values()
    )
    rows.append(f"| regret less the portfolio's | {behind} |" + " |" * len(LATER))
    rows += ["", "| after the time of n mean trials | " + " | ".join(map(str, TIMES)) + " |"]
    rows.append("|---" * (len(TIMES) + 1) + "|")
    for name, values in found["regret_by_time"].items():
        rows.append(f"| {name} | " + " | ".join(f"{m:.3f} ({a:.3f}-{b:.3f})" for m, a, b in values.values()) + " |")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, required=True, help="a folder that `autodelta collect` wrote or writes")
    parser.add_argument("--searches", type=int, default=5)
    parser.add_argument("--full-trials", type=int, default=30, help="the budget of a search")
    parser.add_argument("--folds", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS / "meta_on_our_table", help="without .md and .json")
    asked = parser.parse_args()
    table, left_out = judged(read(asked.table))
    for name in left_out:
        print(f"left out: {name}: fewer than {LEAST} candidates have a test score")
    with tempfile.TemporaryDirectory() as name:
        folder = write_table(Path(name), table)
        bench = Bench(
            table=folder, samplers=SAMPLERS, pruners=("none",), searches=asked.searches, jobs=asked.jobs,
            full_trials=asked.full_trials, folds=asked.folds, points=2 * asked.full_trials,
        )  # fmt: skip
        try:
            found = compare(bench, say=print)
        except UserError as error:
            raise SystemExit(f"error: {error}") from None
    clear = {one.task for one in signals(table.records) if one.clear}
    answers = {"all": answer(found), "signal": answer(on(found, clear))}
    write_json(asked.out.with_suffix(".json"), answers)
    text = [
        f"<!-- benchmarks/meta_on_our_table.py; {len(left_out)} tasks left out -->",
        *lines(answers["all"], "All tasks"),
        "",
        *lines(answers["signal"], "Tasks that tell candidates from seeds"),
    ]
    asked.out.with_suffix(".md").write_text("\n".join(text) + "\n", encoding="utf8")
    print("\n".join(text))


if __name__ == "__main__":
    main()
