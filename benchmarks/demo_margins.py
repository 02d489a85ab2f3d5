"""Do the demo tasks need language, and do they tell methods apart? Test accuracy of each method on nano.

    python benchmarks/demo_margins.py

Four methods, three seeds, on every demo task at its default sizes, beside the better of the two counts of words in
``results/demo_floor.csv``. The learning rate of each method is one for all tasks: the best of a grid by the mean
accuracy on validation of four tasks, seed 0 (``demo_rates.csv``). Every trial is a line of a CSV; called again,
the script goes on with what is missing. Ends with the Markdown table, beside the CSV and printed; ``--table`` makes it
from the CSV alone.
"""

import argparse
from pathlib import Path
from statistics import mean, stdev

from trials import Job, accuracies, best_rates, read, run_missing, tuning

from autodelta.tasks import demo

RESULTS = Path(__file__).parent / "results"
METHODS = ("lora", "adapter", "bitfit", "prompt")
CELLS = [("nano", name) for name in METHODS]
TUNED_ON = ("demo/entailment", "demo/relation", "demo/sentiment", "demo/question")
SEEDS = (0, 1, 2)
STEPS, BATCH = 400, 16
MARGIN = 0.1  # that counting words should stay behind


def table(rows: list[dict[str, str]], floors: dict[str, float]) -> str:
    """A row a task: floor, methods, the best one's lead, and which methods lie within two standard errors of it."""
    cells = accuracies(rows)
    lines = [
        "| task | counting words | " + " | ".join(METHODS) + " | best over counting | within two s.e. of the best |"
    ]
    lines.append("|---" * (len(METHODS) + 4) + "|")
    near: dict[str, int] = dict.fromkeys(METHODS, 0)
    leads = []
    for task, floor in sorted(floors.items()):
        found = {name: cells.get((f"demo/{task}", "nano", name), []) for name in METHODS}
        if any(len(values) < len(SEEDS) for values in found.values()):
            continue
        best = max(found, key=lambda name: mean(found[name]))
        ties = [name for name in METHODS if _gap(found[best], found[name]) <= 2]
        for name in ties:
            near[name] += 1
        leads.append(mean(found[best]) - floor)
        shown = " | ".join(f"{mean(values):.3f} ± {stdev(values):.3f}" for values in found.values())
        lines.append(f"| {task} | {floor:.3f} | {shown} | {leads[-1]:+.3f} | {', '.join(ties)} |")
    said = ", ".join(f"{name} {number}" for name, number in near.items())
    lines += [
        "",
        f"The best is at least {MARGIN:.0%} above counting on {sum(lead >= MARGIN for lead in leads)} of {len(leads)}.",
    ]
    return "\n".join([*lines, f"Tasks on which a method is within two standard errors of the best: {said}."])


def _gap(best: list[float], other: list[float]) -> float:
    """In standard errors of a difference of means."""
    error = (stdev(best) ** 2 / len(best) + stdev(other) ** 2 / len(other)) ** 0.5
    return (mean(best) - mean(other)) / max(error, 1e-9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS / "demo_margins.csv")
    parser.add_argument("--rates", type=Path, default=RESULTS / "demo_rates.csv")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--table", action="store_true", help="make the table and stop")
    arguments = parser.parse_args()
    floors = {row["task"]: max(float(row["words"]), float(row["pairs"])) for row in read(RESULTS / "demo_floor.csv")}
    if not arguments.table:
        data = Path()  # demo tasks are generated
        choosing = tuning(CELLS, TUNED_ON, data, steps=STEPS, batch_size=BATCH)
        run_missing(choosing, arguments.rates, processes=arguments.processes)
        rates = best_rates(read(arguments.rates), len(TUNED_ON))
        jobs = [
            Job(f"demo/{name}", data, "nano", (method,), seed, STEPS, BATCH, learning_rate=rates["nano", method])
            for name in demo.names()
            for method in METHODS
            for seed in SEEDS
        ]
        run_missing(jobs, arguments.out, processes=arguments.processes)
    text = table(read(arguments.out), floors)
    arguments.out.with_suffix(".md").write_text(text + "\n", encoding="utf8")
    print(text)


if __name__ == "__main__":
    main()
