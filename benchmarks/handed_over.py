"""Which of the candidates that were tried is handed over: the best score, or the one believed to be best?

    python benchmarks/handed_over.py --table DIR [--jobs 2]

Searches on our table as in `meta_on_our_table.py`: models are fitted to folds of tasks that leave the family of the
judged task out, a search sees one validation score of each candidate, and what it hands over is judged by the mean
test score over repeats, as regret normalised by task. By `best score`; `shrunken` to the mean of its composition, as
a search does that knows no other tasks; `believed`, with the past and the scores of all trials. Whoever chose the
trials: `meta`, `tpe` or `random`. And with a past turned about: each source's scores mirrored at their mean.
Differences to the best score with 95 % intervals, families of tasks drawn again, and searches of each task; p of a
one-sided Wilcoxon over families, each alone, unadjusted.
"""

import argparse
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
from meta_on_our_table import judged
from scipy.stats import wilcoxon

from autodelta.meta.folds import family
from autodelta.meta.records import Record, Table, read, write_table
from autodelta.search.answer.shrink import shrunken
from autodelta.search.believed import believed
from autodelta.search.budget import Budget
from autodelta.search.records import TrialRecord
from autodelta.search.samplers import Scene
from autodelta.search.simulation import simulate
from autodelta.studies.bench import Bench, subject
from autodelta.studies.pasts import Taught, taught
from autodelta.studies.regret import Floats, band, curves, resampled

RESULTS = Path(__file__).parent / "results"
AT = (3, 5, 10, 15, 20, 25)
RULES = ("best score", "shrunken", "believed")
SEARCHED = (("sound", "meta"), ("sound", "tpe"), ("sound", "random"), ("turned about", "meta"))  # past and sampler


class Order(NamedTuple):
    """A search."""

    bench: Bench
    task: str
    past: Taught
    sampler: str
    seed: int


def turned(table: Table) -> Table:
    """Scores mirrored at the mean of each task's."""
    ends: dict[str, list[float]] = {}
    for record in table.records:
        ends.setdefault(record.task, []).extend(point.score for point in record.curve[-1:])
    means = {task: float(np.mean(found)) for task, found in ends.items()}
    return Table(records=tuple(_turned(one, means) for one in table.records), tasks=table.tasks, about=table.about)


def _turned(record: Record, means: dict[str, float]) -> Record:
    curve = tuple(one.model_copy(update={"score": 2 * means[record.task] - one.score}) for one in record.curve)
    return record.model_copy(update={"curve": curve})


def searched(order: Order) -> list[list[float]]:
    """Regret of what each rule hands over after some numbers of trials: (rules, points)."""
    table = read(order.bench.table)
    on = subject(order.bench, table, order.task, order.past)
    budget = Budget(text=f"{on.full_seconds:.1f}cpu-s", cpu_seconds=on.full_seconds)
    found = simulate(
        on.space, on.pool, on.trials, budget, sampler_name=order.sampler, rank=on.ranks.get(order.sampler),
        pruner_name="none", seed=order.seed,
    )  # fmt: skip
    known = table.tasks[order.task]
    rows = round(np.exp(known.features["log_validation_rows"]))
    scene = Scene(on.space, order.past.features, order.past.model)

    def handed(trials: Sequence[TrialRecord], rule: str) -> float:
        beliefs = believed(scene, trials) if rule == "believed" else {}
        ranked = shrunken(trials, rows=rows, metric=known.metric, believed=beliefs)
        best = max(ranked, key=lambda one: one.seen) if rule == "best score" else ranked[0]
        assert best.trial.candidate is not None
        return on.regret[best.trial.candidate.key]

    return [[handed(found.trials[:number], rule) for number in AT] for rule in RULES]


def lines(regret: Floats, tasks: Sequence[str], said: str) -> list[str]:
    """A table in Markdown of (rules, tasks, searches, points)."""
    families = [family(task) for task in tasks]
    weights = resampled(families, regret.shape[2])
    means, drawn = band(regret, weights).mean, curves(regret, weights)
    rows = [said, "", "| handed over | " + " | ".join(f"@{number}" for number in AT) + " |", "|---" * 7 + "|"]
    for at, rule in enumerate(RULES):
        cells = [f"{mean:.3f}" for mean in means[at]]
        if at:
            low, high = np.quantile(drawn[:, at] - drawn[:, 0], [0.025, 0.975], axis=0)
            gains = zip(cells, means[at] - means[0], low, high, _p(regret[at] - regret[0], families), strict=True)
            cells = [f"{cell} ({gain:+.3f}, {a:+.3f} to {b:+.3f}, p {p:.3f})" for cell, gain, a, b, p in gains]
        rows.append(f"| {rule} | " + " | ".join(cells) + " |")
    return [*rows, ""]


def _p(differences: Floats, families: Sequence[str]) -> list[float]:
    """That a rule is no better, at each point, from (tasks, searches, points)."""
    by_task, (names, at) = differences.mean(axis=1), np.unique(families, return_inverse=True)
    by_family = np.stack([by_task[at == number].mean(axis=0) for number in range(len(names))])
    return [float(wilcoxon(one, alternative="less").pvalue) if one.any() else 1.0 for one in by_family.T]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, required=True, help="a folder that `autodelta collect` wrote or writes")
    parser.add_argument("--searches", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS / "handed_over.md")
    asked = parser.parse_args()
    table, _ = judged(read(asked.table))
    tasks = list(dict.fromkeys(record.task for record in table.records))
    text = [f"<!-- benchmarks/handed_over.py, {len(tasks)} tasks, {asked.searches} searches each -->"]
    with TemporaryDirectory() as name, ProcessPoolExecutor(asked.jobs, mp_context=get_context("spawn")) as pool:
        bench = Bench(
            table=write_table(Path(name) / "table", table), samplers=("meta", "tpe", "random"),
            searches=asked.searches, full_trials=30,
        )  # fmt: skip
        pasts = {
            past: taught(one, Path(name) / past, folds=bench.folds, seed=bench.seed, say=print)
            for past, one in (("sound", table), ("turned about", turned(table)))
        }
        for past, sampler in SEARCHED:
            orders = [
                Order(bench, task, pasts[past][task], sampler, seed)
                for task, seed in product(tasks, range(asked.searches))
            ]
            found = np.array(list(pool.map(searched, orders, chunksize=4)))  # (searches of all tasks, rules, points)
            regret = found.reshape(len(tasks), asked.searches, len(RULES), len(AT)).transpose(2, 0, 1, 3)
            text += lines(regret, tasks, f"Trials chosen by `{sampler}`, the past {past}:")
            print("\n".join(text[-7:]), flush=True)
    asked.out.write_text("\n".join(text), encoding="utf8")


if __name__ == "__main__":
    main()
