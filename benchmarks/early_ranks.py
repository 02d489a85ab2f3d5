"""From which step on do scores say who will be good? What the first rung of a search has to be, by recorded tables.

    python benchmarks/early_ranks.py --table DIR --table DIR

For every step of the tables' learning curves and every task: the rank correlation (Spearman) of what trials show there
with their last score on validation, and how much of the best third by that score is among the best third there; by
score, by log-loss, and by the sum of both ranks, as ``search.pruning`` has it. Only trials that go on beyond the step
are compared, and only tasks that have enough of them and where the last scores spread more than their own noise. Means
over tasks with 95 % intervals, families of tasks drawn again.
"""

import argparse
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata, spearmanr

from autodelta.files import write_text
from autodelta.meta.folds import family
from autodelta.meta.records import Point, Record, read
from autodelta.studies.regret import band, resampled

OUT = Path(__file__).parent / "results" / "early_ranks.md"
FEWEST = 6  # trials of a task that go on beyond a step
SPREAD = 0.05  # standard deviation of a task's last scores, at least: several standard errors of 500 rows

Floats = NDArray[np.float64]


class Found(NamedTuple):
    """On one task at one step, by one way of ranking."""

    correlation: float
    kept: float  # share of the best third that is among the best third there


def places(points: Sequence[Point]) -> dict[str, Floats]:
    """Where trials stand at a step, best lowest, by each way of ranking."""
    by_score = rankdata([-point.score for point in points])
    found = {"score": by_score}
    losses = [point.log_loss for point in points]
    if None not in losses:
        by_loss = rankdata(losses)
        found |= {"log-loss": by_loss, "both": by_score + by_loss}
    return found


def compared(records: Sequence[Record], step: int) -> dict[str, Found]:
    """One task at one step; empty where it has too little to say."""
    beyond = [(at, record.curve[-1].score) for record in records for at in record.curve[:-1] if at.step == step]
    last = np.array([score for _, score in beyond])
    if len(beyond) < FEWEST or last.std(ddof=1) < SPREAD:
        return {}
    third = max(1, len(beyond) // 3)
    best = set(np.argsort(-last, kind="stable")[:third])
    return {
        how: Found(
            correlation=float(spearmanr(-place, last).statistic) if np.ptp(place) else 0.0,
            kept=len(best & set(np.argsort(place, kind="stable")[:third])) / third,
        )
        for how, place in places([point for point, _ in beyond]).items()
    }


def first_seeds(folder: Path) -> dict[str, list[Record]]:
    """A table's complete trials of first seeds, by task."""
    found = defaultdict(list)
    for record in read(folder).records:
        if record.state == "complete" and record.repeat == 0:
            found[record.task].append(record)
    return found


def interval(values: dict[str, float]) -> tuple[float, float, float]:
    """Mean of the tasks' values, and its 95 % interval."""
    each = np.array(list(values.values())).reshape(1, -1, 1, 1)
    found = band(each, resampled([family(task) for task in values], 1))
    return float(found.mean[0, 0]), float(found.low[0, 0]), float(found.high[0, 0])


def lines(tasks: dict[str, list[Record]], of: Callable[[Found], float]) -> list[str]:
    steps = sorted({point.step for records in tasks.values() for record in records for point in record.curve[:-1]})
    rows = ["| step | tasks | score | log-loss | both |", "| ---: | ---: | --- | --- | --- |"]
    for step in steps:
        found = {task: one for task, records in tasks.items() if (one := compared(records, step))}
        if not found:
            continue
        cells = []
        for how in ("score", "log-loss", "both"):
            values = {task: of(one[how]) for task, one in found.items() if how in one}
            cells.append("{:.2f} ({:.2f} to {:.2f})".format(*interval(values)) if values else "")
        rows.append(f"| {step} | {len(found)} | {' | '.join(cells)} |")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, action="append", required=True, help="what `autodelta collect` wrote")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    parts = ["# Who is good, by the step at which one looks", "", "`python benchmarks/early_ranks.py`.", ""]
    for folder in arguments.table:
        tasks = first_seeds(folder)
        parts += [f"## {folder.name}: {sum(map(len, tasks.values()))} trials on {len(tasks)} tasks", ""]
        parts += ["Rank correlation with the last score on validation, mean over tasks (95 % interval):", ""]
        parts += [*lines(tasks, lambda one: one.correlation), ""]
        parts += ["Of the best third by the last score, the share among the best third at the step:", ""]
        parts += [*lines(tasks, lambda one: one.kept), ""]
    text = "\n".join(parts)
    write_text(arguments.out, text)
    print(text)


if __name__ == "__main__":
    main()
