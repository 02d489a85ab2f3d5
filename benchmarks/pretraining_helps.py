"""Does nano's pretraining help? Test accuracy of nano and of random weights of its shape on twelve labelled tasks.

    python benchmarks/pretraining_helps.py --data DIR

Five methods on nano and two on random weights, three seeds each, beside the majority class and TF-IDF with logistic
regression. First the learning rate of each of these seven is chosen, one for all tasks: the best of a grid by the mean
accuracy on validation of four of the tasks, one of them on pairs of texts, seed 0 (``pretraining_rates.csv``). Every
finished trial is a line of a CSV; called again, the script goes on with what is missing. Ends by printing the Markdown
table; ``--table`` prints it from the CSV alone.
"""

import argparse
from collections import defaultdict
from pathlib import Path
from statistics import mean, stdev

from trials import Job, append, read, run_missing

TASKS = ("trec", "subj", "mr", "sst2", "emotion", "snips", "qqp", "snli", "cola", "cb", "rte", "boolq")
SEEDS = (0, 1, 2)
STEPS, BATCH = 300, 16
RATES = {
    "full": (1e-4, 3e-4, 1e-3, 3e-3),
    "lora": (3e-4, 1e-3, 3e-3, 1e-2),
    "adapter": (1e-3, 3e-3, 1e-2),
    "bitfit": (3e-3, 1e-2, 3e-2),
    "prompt": (3e-2, 1e-1, 3e-1),
}
TUNED_ON = ("mr", "emotion", "trec", "qqp")
RESULTS = Path(__file__).parent / "results"
CELLS = [("nano", name) for name in ("full", "lora", "adapter", "bitfit", "prompt")]
CELLS += [("random", "full"), ("random", "lora")]
BOTH = [cell for cell in CELLS if cell[1] in ("full", "lora")]  # these first
FLOORS = [("-", "majority"), ("-", "tfidf")]
Cells = dict[tuple[str, str, str], list[float]]


def floor_rows(name: str, data: Path) -> list[dict[str, object]]:
    """Majority class and TF-IDF with logistic regression."""
    from autodelta import tasks
    from autodelta.tasks.floor import COUNTING, MAJORITY, floors

    task = tasks.load(name, data=data)
    gold = [example.label for example in task.examples("test")]
    found = floors(task)
    return [
        {
            "task": name,
            "weights": "-",
            "deltas": kind,
            "seed": 0,
            "learning_rate": "",
            "accuracy": round(mean(a == b for a, b in zip(gold, found[floor], strict=True)), 4),
            "score": round(task.score(gold, found[floor]), 4),
            "rows": len(gold),
            "seconds": 0,
        }
        for kind, floor in (("majority", MAJORITY), ("tfidf", COUNTING))
    ]


def tuning(data: Path, cells: list[tuple[str, str]]) -> list[Job]:
    """The trials that choose learning rates."""
    return [
        Job(name, data, weights, (deltas,), 0, STEPS, BATCH, learning_rate=rate, split="validation")
        for weights, deltas in cells
        for rate in RATES[deltas]
        for name in TUNED_ON
    ]


def best_rates(rows: list[dict[str, str]]) -> dict[tuple[str, str], float]:
    """By weights and method, the rate whose mean accuracy is the highest; only cells whose tuning is whole."""
    found: dict[tuple[str, str], dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        found[row["weights"], row["deltas"]][float(row["learning_rate"])].append(float(row["accuracy"]))
    best = {}
    for (weights, deltas), by in found.items():
        if sum(map(len, by.values())) == len(RATES[deltas]) * len(TUNED_ON):
            best[weights, deltas] = max(by, key=lambda rate: mean(by[rate]))
    return best


def table(rows: list[dict[str, str]]) -> str:
    """Mean and standard deviation over seeds, a row a task; then how far nano is from random weights."""
    cells: Cells = defaultdict(list)
    for row in rows:
        cells[row["task"], row["weights"], row["deltas"]].append(float(row["accuracy"]))
    columns = [*FLOORS, *CELLS]
    names = [name if weights == "-" else f"{weights} {name}" for weights, name in columns]
    lines = ["| task | " + " | ".join(names) + " | nano over random |", "|---" * (len(columns) + 2) + "|"]
    for task in TASKS:
        shown = []
        for column in columns:
            values = cells.get((task, *column), [])
            spread = f" ± {stdev(values):.3f}" if len(values) > 1 else ""
            shown.append(f"{mean(values):.3f}{spread}" if values else "")
        lines.append(f"| {task} | " + " | ".join(shown) + f" | {_verdict(cells, task)} |")
    return "\n".join(lines)


def _verdict(cells: Cells, task: str) -> str:
    """For full fine-tuning and LoRA: the difference, and its size in standard errors of a difference of means."""
    found = []
    for name in ("full", "lora"):
        ours, theirs = cells.get((task, "nano", name), []), cells.get((task, "random", name), [])
        if min(len(ours), len(theirs)) < 2:
            return ""
        error = (stdev(ours) ** 2 / len(ours) + stdev(theirs) ** 2 / len(theirs)) ** 0.5
        difference = mean(ours) - mean(theirs)
        found.append(f"{name} {difference:+.3f} ({difference / max(error, 1e-9):+.1f} se)")
    return ", ".join(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="the folder of labelled tasks")
    parser.add_argument("--out", type=Path, default=RESULTS / "pretraining_helps.csv")
    parser.add_argument("--rates", type=Path, default=RESULTS / "pretraining_rates.csv")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--table", action="store_true", help="print the table and stop")
    arguments = parser.parse_args()
    if not arguments.table:
        known = {row["task"] for row in read(arguments.out) if row["deltas"] == "majority"}
        for name in TASKS:
            if name not in known:
                append(arguments.out, floor_rows(name, arguments.data))
        for cells in (BOTH, CELLS):
            run_missing(tuning(arguments.data, cells), arguments.rates, processes=arguments.processes)
            rates = best_rates(read(arguments.rates))
            jobs = (
                Job(name, arguments.data, weights, (deltas,), seed, STEPS, BATCH, learning_rate=rates[weights, deltas])
                for name in TASKS
                for weights, deltas in cells
                for seed in SEEDS
            )
            run_missing(jobs, arguments.out, processes=arguments.processes)
    print(table(read(arguments.out)))


if __name__ == "__main__":
    main()
