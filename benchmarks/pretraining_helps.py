"""Does nano's pretraining help? Test accuracy of nano and of random weights of its shape on twelve labelled tasks.

    python benchmarks/pretraining_helps.py --data DIR

Five methods on nano and two on random weights, three seeds each, beside the majority class and TF-IDF with logistic
regression. First the learning rate of each of these seven is chosen, one for all tasks: the best of a grid by the mean
accuracy on validation of four of the tasks, one of them on pairs of texts, seed 0 (``pretraining_rates.csv``). Every
finished trial is a line of a CSV; called again, the script goes on with what is missing. Ends with the Markdown table,
beside the CSV and printed; ``--table`` makes it from the CSV alone.
"""

import argparse
from pathlib import Path
from statistics import mean, stdev

from trials import Job, accuracies, append, best_rates, read, run_missing, tuning

TASKS = ("trec", "subj", "mr", "sst2", "emotion", "snips", "qqp", "snli", "cola", "cb", "rte", "boolq")
SEEDS = (0, 1, 2)
STEPS, BATCH = 300, 16
TUNED_ON = ("mr", "emotion", "trec", "qqp")
RESULTS = Path(__file__).parent / "results"
CELLS = [("nano", name) for name in ("full", "lora", "adapter", "bitfit", "prompt")]
CELLS += [("random", "full"), ("random", "lora")]
COMPARED = ("full", "lora")
BOTH = [cell for cell in CELLS if cell[1] in COMPARED]  # these first
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


def table(rows: list[dict[str, str]]) -> str:
    """Mean and standard deviation over seeds, a row a task; then how far nano is from random weights."""
    cells = accuracies(rows)
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
    return "\n".join([*lines, "", _count(cells)])


def gained(cells: Cells, task: str, *methods: str) -> tuple[float, float] | None:
    """How far nano is above random weights in the mean over methods, and in standard errors of that difference; None
    before it is run."""
    pairs = [[cells.get((task, weights, name), []) for weights in ("nano", "random")] for name in methods]
    if min(len(scores) for pair in pairs for scores in pair) < len(SEEDS):
        return None
    difference = mean(mean(ours) - mean(theirs) for ours, theirs in pairs)
    error = sum(stdev(scores) ** 2 / len(scores) for pair in pairs for scores in pair) ** 0.5 / len(methods)
    return difference, difference / max(error, 1e-9)


def _verdict(cells: Cells, task: str) -> str:
    found = {name: gained(cells, task, name) for name in COMPARED}
    return ", ".join(f"{name} {gain[0]:+.3f} ({gain[1]:+.1f} se)" for name, gain in found.items() if gain)


def _count(cells: Cells) -> str:
    """On how many tasks nano is more than two standard errors above random weights."""

    def sure(*methods: str) -> set[str]:
        found = {task: gained(cells, task, *methods) for task in TASKS}
        return {task for task, gain in found.items() if gain is not None and gain[1] > 2}

    each = ", ".join(f"{len(sure(name))} by {name}" for name in COMPARED)
    either = set.union(*(sure(name) for name in COMPARED))
    return (
        f"More than two standard errors above random weights, of {len(TASKS)} tasks: {each}, {len(either)} by either, "
        f"{len(sure(*COMPARED))} by the mean of both."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="the folder of labelled tasks")
    parser.add_argument("--out", type=Path, default=RESULTS / "pretraining_helps.csv")
    parser.add_argument("--rates", type=Path, default=RESULTS / "pretraining_rates.csv")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--table", action="store_true", help="make the table and stop")
    arguments = parser.parse_args()
    if not arguments.table:
        known = {row["task"] for row in read(arguments.out) if row["deltas"] == "majority"}
        for name in TASKS:
            if name not in known:
                append(arguments.out, floor_rows(name, arguments.data))
        for cells in (BOTH, CELLS):
            choosing = tuning(cells, TUNED_ON, arguments.data, steps=STEPS, batch_size=BATCH)
            run_missing(choosing, arguments.rates, processes=arguments.processes)
            rates = best_rates(read(arguments.rates), len(TUNED_ON))
            jobs = (
                Job(name, arguments.data, weights, (deltas,), seed, STEPS, BATCH, learning_rate=rates[weights, deltas])
                for name in TASKS
                for weights, deltas in cells
                for seed in SEEDS
            )
            run_missing(jobs, arguments.out, processes=arguments.processes)
    text = table(read(arguments.out))
    arguments.out.with_suffix(".md").write_text(text + "\n", encoding="utf8")
    print(text)


if __name__ == "__main__":
    main()
