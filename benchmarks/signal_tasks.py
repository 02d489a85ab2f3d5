"""Which tasks tell candidates apart? Those where candidates spread more than twice as far as seeds do.

    python benchmarks/signal_tasks.py --data DIR

Eight candidates at two seeds on every task of the folder and every demo task; the task's own metric on test. The spread
between candidates is the standard deviation of their means, that between seeds the pooled standard deviation within a
candidate. Goes on where it was stopped; ends by printing the Markdown table (``--table``: from the CSV alone).
"""

import argparse
from collections import defaultdict
from pathlib import Path
from statistics import mean, stdev

from trials import Job, read, run_missing

CANDIDATES = (
    ("full",),
    ("lora",),
    ("lora decoder",),
    ("adapter",),
    ("bitfit",),
    ("prompt",),
    ("adapter", "bitfit"),
    ("lora", "prompt"),
)
SEEDS = (0, 1)
RATIO = 2.0


def table(rows: list[dict[str, str]]) -> str:
    """A row a task, the clearest signal first."""
    scores: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        scores[row["task"]][row["deltas"]].append(float(row["score"]))
    lines = []
    for task, found in scores.items():
        whole = {name: values for name, values in found.items() if len(values) == len(SEEDS)}
        if len(whole) < len(CANDIDATES):
            continue
        between = stdev(mean(values) for values in whole.values())
        within = mean(stdev(values) ** 2 for values in whole.values()) ** 0.5
        best = max(whole, key=lambda name: mean(whole[name]))
        lines.append((between / max(within, 1e-9), task, between, within, best, mean(whole[best])))
    columns = ("task", "between candidates", "between seeds", "ratio", "signal", "best candidate", "its score")
    head = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    body = [
        f"| {task} | {between:.4f} | {within:.4f} | {ratio:.1f} | {'yes' * (ratio > RATIO)} | {best} | {score:.3f} |"
        for ratio, task, between, within, best, score in sorted(lines, reverse=True)
    ]
    return "\n".join([*head, *body])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="the folder of labelled tasks")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "signal_tasks.csv")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--table", action="store_true", help="print the table and stop")
    arguments = parser.parse_args()
    if not arguments.table:
        from autodelta.tasks import demo

        names = [*sorted(path.name for path in arguments.data.iterdir() if path.is_dir())]
        names += [f"demo/{name}" for name in demo.names()]
        jobs = (
            Job(name, arguments.data, "nano", deltas, seed, steps=200, batch_size=16)
            for seed in SEEDS
            for name in names
            for deltas in CANDIDATES
        )
        run_missing(jobs, arguments.out, processes=arguments.processes)
    print(table(read(arguments.out)))


if __name__ == "__main__":
    main()
