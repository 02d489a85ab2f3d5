"""What knowing other tasks gains in a whole search: `meta` against `tpe`, from nothing to a confirmed answer.

    python benchmarks/meta_end_to_end.py --table DIR [--table DIR] --data TASKS [--tasks mpqa,trec,atis]

The three tasks are those of `signal_tasks.md` whose candidates differ most surely (ratio above 3) and whose trials take
least time, chosen before any search of this script. For each task a model is fitted to the tables without any task of
its family. Then, for each seed, both samplers search at the same time, one process each, with the same budget and
everything else as it ships. Told are the winner's mean test score after confirmation, and how soon the best validation
score of `meta` is that with which `tpe` ends. Every search is a line of a CSV; called again, the script goes on with
what is missing, and with a search that was killed where it stood. Ends with the Markdown table, beside the CSV and
printed.
"""

import argparse
import math
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor  # whose processes may have workers of their own
from itertools import accumulate
from pathlib import Path
from statistics import mean, stdev
from typing import NamedTuple

import numpy as np
from scipy.stats import wilcoxon
from trials import append, read

import autodelta
from autodelta.meta.compositions import sources
from autodelta.meta.fitting import fit
from autodelta.meta.folds import family
from autodelta.meta.saved import save
from autodelta.search import Run
from autodelta.studies.learn import distinct, gathered

RESULTS = Path(__file__).parent / "results"
SAMPLERS = ("meta", "tpe")
SEEDS = range(5)


class Job(NamedTuple):
    """One search."""

    task: str
    sampler: str
    seed: int
    model: Path
    data: Path
    budget: str
    runs: Path


def taught(task: str, tables: Sequence[Path], folder: Path) -> Path:
    """The folder of a model that has seen nothing of the task's family."""
    if not folder.exists():
        known = sources(*distinct(gathered(tables, None, say=print)).values())
        own = [row for row, one in enumerate(known.tasks) if family(one.name) == family(task)]
        save(fit(known.without(own).usable(), seed=0), folder)
    return folder


def searched(job: Job) -> dict[str, object]:
    """The line of one search."""
    name = f"{job.task.replace('/', '-')}-{job.sampler}-{job.seed}"
    if (job.runs / name / "run.json").exists():
        run = autodelta.resume(name, runs=job.runs)
    else:
        run = autodelta.search(
            job.task, budget=job.budget, data=job.data, sampler=job.sampler, seed=job.seed, name=name, runs=job.runs,
            meta=job.model if job.sampler == "meta" else None, executor="local", workers=1,
        )  # fmt: skip
    assert run.result is not None
    answer = run.result.answer
    standing = None if answer.winner is None else answer.standing(answer.winner)
    seconds, best = course(run)
    return {
        "task": job.task,
        "sampler": job.sampler,
        "seed": job.seed,
        "budget": job.budget,
        "trials": len(run.trials),
        "test": "" if standing is None or standing.test is None else standing.test,
        "seconds": " ".join(f"{value:.1f}" for value in seconds),
        "best": " ".join(f"{value:.4f}" for value in best),
    }


def course(run: Run) -> tuple[list[float], list[float]]:
    """Device-seconds spent on trials after each of them, and the best validation score of those that have ended."""
    trials = run.trials
    own = [
        trial.device_seconds - (0.0 if trial.continues is None else trials[trial.continues].device_seconds)
        for trial in trials
    ]
    scores = [trial.score if trial.state == "complete" and trial.score is not None else -math.inf for trial in trials]
    return list(accumulate(own)), list(accumulate(scores, max))


def table(rows: Sequence[dict[str, str]]) -> str:
    """A line a task and one of all, in Markdown."""
    lines = [
        "| task | meta, test (± sd) | tpe, test (± sd) | difference, paired (± se) | better | trials of meta; of tpe "
        "| tpe's last best is meta's after, of what it took tpe |",
        "|---|---|---|---|---|---|---|",
    ]
    found = {(row["task"], row["sampler"], row["seed"]): row for row in rows}
    every: list[float] = []
    for task in dict.fromkeys(row["task"] for row in rows):
        seeds = [seed for seed in map(str, SEEDS) if all((task, one, seed) in found for one in SAMPLERS)]
        pairs = [(found[task, "meta", seed], found[task, "tpe", seed]) for seed in seeds]
        scored = [(float(a["test"]), float(b["test"])) for a, b in pairs if a["test"] and b["test"]]
        if len(scored) < 2:
            continue
        mine, other = zip(*scored, strict=True)
        apart = [a - b for a, b in scored]
        every += apart
        shares = [share(*pair) for pair in pairs]
        reached = [one for one in shares if one is not None]
        middle = f"{np.median(reached):.0%} (median)" if reached else "-"
        lines.append(
            f"| {task} | {mean(mine):.4f} ± {stdev(mine):.4f} | {mean(other):.4f} ± {stdev(other):.4f} "
            f"| {mean(apart):+.4f} ± {stdev(apart) / len(apart) ** 0.5:.4f} "
            f"| {sum(one > 0 for one in apart)} of {len(apart)} "
            f"| {' '.join(pair[0]['trials'] for pair in pairs)}; {' '.join(pair[1]['trials'] for pair in pairs)} "
            f"| {middle} in {len(reached)} of {len(shares)}, the others never |"
        )
    p = wilcoxon(every, alternative="greater").pvalue
    lines.append(f"| all | | | {mean(every):+.4f} | {sum(one > 0 for one in every)} of {len(every)} | | |")
    return "\n".join([*lines, "", f"Wilcoxon, one side, over all {len(every)} pairs: p = {p:.4f}."])


def share(mine: dict[str, str], other: dict[str, str]) -> float | None:
    """After what share of the seconds that `tpe` took to its last best score `meta` was there; None: never."""
    goal = float(other["best"].split()[-1])
    took, needed = _when(other, goal), _when(mine, goal)
    return None if needed is None or not took else needed / took


def _when(row: dict[str, str], goal: float) -> float | None:
    steps = zip(map(float, row["seconds"].split()), map(float, row["best"].split()), strict=True)
    return next((seconds for seconds, best in steps if best >= goal), None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, action="append", required=True, help="as `autodelta collect` writes it")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--tasks", default="mpqa,trec,atis")
    parser.add_argument("--budget", default="5cpu-min")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="also for the models, in `models`")
    parser.add_argument("--out", type=Path, default=RESULTS / "meta_end_to_end.csv")
    asked = parser.parse_args()
    done = {(row["task"], row["sampler"], row["seed"]) for row in read(asked.out)}
    for task in asked.tasks.split(","):
        missing = {seed: [one for one in SAMPLERS if (task, one, str(seed)) not in done] for seed in SEEDS}
        if not any(missing.values()):
            continue
        model = taught(task, asked.table, asked.runs / "models" / task.replace("/", "-"))
        for seed, samplers in missing.items():
            jobs = [
                Job(task, sampler, seed, model.absolute(), asked.data.absolute(), asked.budget, asked.runs.absolute())
                for sampler in samplers
            ]
            with ProcessPoolExecutor(len(SAMPLERS), multiprocessing.get_context("spawn")) as pool:
                for row in pool.map(searched, jobs):
                    append(asked.out, [row])
                    print({name: value for name, value in row.items() if name not in ("seconds", "best")}, flush=True)
    head = f"<!-- benchmarks/meta_end_to_end.py --budget {asked.budget} -->"
    text = table(read(asked.out))
    asked.out.with_suffix(".md").write_text(f"{head}\n{text}\n", encoding="utf8")
    print(text)


if __name__ == "__main__":
    main()
