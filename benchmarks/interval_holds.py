"""Whether the interval that a search states for its winner's test score holds fresh seeds, on real tasks.

    python benchmarks/interval_holds.py --data TASKS [--tasks sst2,trec,subj] [--budget 10min] [--also rte:5min]

For each task: a search with the default space; then its winner is trained at ten seeds that the search has not used,
and scored on test. Must hold: 8 to 10 of the 10 lie inside the 90 % interval, which is no wider than four standard
deviations between seeds. That deviation is taken from the ten alone, which know it to a quarter of itself, and from
them and the winner's confirmed seeds together, which know it better. ``--also`` names tasks that are only searched,
with a budget of their own, to see what is said at chance level.
A script that was stopped goes on where it was, also with a larger budget.
"""

import argparse
import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
from trials import append, read

import autodelta
from autodelta.engine.assignment import Assignment, WorkerSpec
from autodelta.search import Run
from autodelta.search.seeds import derived

RESULTS = Path(__file__).parent / "results"
FRESH, PURPOSE = 10, 99  # seeds of this script alone


def searched(task: str, data: Path, budget: str, runs: Path) -> Run:
    """The run of a task, taken up again or made."""
    name = f"interval-{task}"
    if (runs / name / "run.json").exists():
        return autodelta.resume(name, budget=budget, runs=runs, listener=print)
    return autodelta.search(task, budget=budget, data=data, name=name, runs=runs, executor="local", listener=print)


def fresh(job: tuple[WorkerSpec, Any, int]) -> dict[str, Any]:
    """The winner's test score at one fresh seed."""
    spec, candidate, number = job
    worker = spec.open()
    seed = derived(0, PURPOSE, number)  # type: ignore[arg-type]
    for _ in worker.run(Assignment(number=0, candidate=candidate, seed=seed, report_at=(candidate.training.steps,))):
        pass
    return {"task": spec.task, "candidate": candidate.key, "seed": seed, "test": worker.evaluate_running("test").score}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--tasks", default="sst2,trec,subj", help="task or task:budget, joined by commas")
    parser.add_argument("--also", default="", help="task:budget, joined by commas")
    parser.add_argument("--budget", default="10min")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    path = RESULTS / "interval_holds.csv"
    done = read(path)
    lines = [
        "| task | winner | test, seeds | 90 % interval | fresh seeds inside | width in s.d. of these | of all seeds |",
        "|---|---|---|---|---|---|---|",
    ]
    said = []
    for named in [*asked.tasks.split(","), *filter(None, asked.also.split(","))]:
        task, _, budget = named.partition(":")
        run = searched(task, asked.data.resolve(), budget or asked.budget, asked.runs)
        assert run.result is not None
        answer = run.result.answer
        said += [
            "",
            f"What the search of {budget or asked.budget} says of {task}:",
            "",
            *(f"- {line}" for line in run.as_json()["lines"]),
        ]
        if named not in asked.tasks.split(",") or answer.winner is None or answer.next_seed is None:
            continue
        standing = answer.standing(answer.winner)
        candidate = next(trial.candidate for trial in run.trials if trial.number == standing.trial)
        have = {
            row["seed"]: float(row["test"]) for row in done if (row["task"], row["candidate"]) == (task, candidate.key)
        }
        jobs = [
            (run.settings.worker, candidate, number)
            for number in range(FRESH)
            if str(derived(0, PURPOSE, number)) not in have  # type: ignore[arg-type]
        ]
        with multiprocessing.get_context("spawn").Pool(asked.processes) as pool:
            for row in pool.imap_unordered(fresh, jobs):
                have[str(row["seed"])] = row["test"]
                append(path, [row])
        scores, confirmed = np.array(list(have.values())), list(standing.test_scores)
        low, high = answer.next_seed.low, answer.next_seed.high
        inside = int(((scores >= low) & (scores <= high)).sum())
        widths = [(high - low) / np.std(seeds, ddof=1) for seeds in (scores, [*scores, *confirmed])]
        lines.append(
            f"| {task} | {standing.name} | {standing.test:.4f}, {len(confirmed)} | {low:.4f}-{high:.4f} | "
            f"{inside} of {len(scores)} | {widths[0]:.1f} | {widths[1]:.1f} |"
        )
    head = f"<!-- benchmarks/interval_holds.py --budget {asked.budget} -->"
    (RESULTS / "interval_holds.md").write_text("\n".join([head, *lines, *said]) + "\n", encoding="utf8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
