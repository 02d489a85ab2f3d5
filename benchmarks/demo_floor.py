"""What counting words achieves on the demo tasks: ``python benchmarks/demo_floor.py``.

TF-IDF with logistic regression, on words and on words and their pairs, at every task's default sizes and difficulty,
over several seeds (each draws rows of its own). C is chosen by cross-validation on train; the table shows test
accuracy. It reads the rendered input, as the backbone does. Written to ``benchmarks/results/demo_floor.{csv,md}``.
"""

import csv
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from autodelta.tasks import demo
from autodelta.tasks.floor import counting

RESULTS = Path(__file__).parent / "results"
COLUMNS = ("task", "kind", "labels", "train", "difficulty", "majority", "words", "words_sd", "pairs", "pairs_sd")


def _split(name: str, split: str, seed: int) -> tuple[list[str], list[str]]:
    """Rendered inputs and labels."""
    template = demo.describe(name).template
    rows = demo.rows(name, split=split, seed=seed)
    return [template.format(**row) for row in rows], [row["label"] for row in rows]


def accuracy(name: str, *, longest: int, seed: int) -> float:
    """Test accuracy with n-grams of up to ``longest`` words."""
    return float(counting(*_split(name, "train", seed), longest=(longest,)).score(*_split(name, "test", seed)))


def measure(name: str, seeds: int) -> dict[str, str]:
    """One row of the table."""
    info = demo.describe(name)
    words, pairs = (np.array([accuracy(name, longest=n, seed=seed) for seed in range(seeds)]) for n in (1, 2))
    return {
        "task": name,
        "kind": info.kind,
        "labels": str(len(info.labels)),
        "train": str(info.train_size),
        "difficulty": f"{info.difficulty:g}",
        "majority": f"{1 / len(info.labels):.3f}",
        "words": f"{words.mean():.3f}",
        "words_sd": f"{words.std(ddof=1):.3f}",
        "pairs": f"{pairs.mean():.3f}",
        "pairs_sd": f"{pairs.std(ddof=1):.3f}",
    }


def markdown(rows: list[dict[str, str]], seeds: int) -> str:
    """The table, with what it shows above it."""
    lines = [
        f"Test accuracy of TF-IDF with logistic regression on the demo tasks, {seeds} seeds, by"
        " `python benchmarks/demo_floor.py`.",
        "`words`: single words; `pairs`: words and pairs of neighbours; `sd`: over seeds.",
        "",
        "| " + " | ".join(COLUMNS) + " |",
        "|" + "---|" * len(COLUMNS),
        *("| " + " | ".join(row[column] for column in COLUMNS) + " |" for row in rows),
    ]
    return "\n".join(lines) + "\n"


def main(seeds: Annotated[int, typer.Option(min=2)] = 5) -> None:
    rows = []
    for name in demo.names():
        rows.append(measure(name, seeds))
        print(*(f"{column} {value}" for column, value in rows[-1].items()), sep="  ", flush=True)
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / "demo_floor.csv").open("w", newline="", encoding="utf8") as out:
        writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    (RESULTS / "demo_floor.md").write_text(markdown(rows, seeds), encoding="utf8")


if __name__ == "__main__":
    typer.run(main)
