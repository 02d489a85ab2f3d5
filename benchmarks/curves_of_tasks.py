"""How do scores rise while a trial goes on? What the arm without transfer takes for known, by recorded curves.

    python benchmarks/curves_of_tasks.py --table DIR

For shares of a trial's steps, scores as the model sees them, in deviations of each task's ends: how far they stand
below the end of the same trial (mean over tasks, and deviation between tasks), the deviation between candidates over
that of the ends, and their correlation with the ends; beside each what ``autodelta.meta.plain`` says. A correlation
with a noisy end cannot reach 1: what is foretold is times the share of the ends' variance that is no noise by repeats.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from autodelta.files import write_text
from autodelta.meta.compositions import sources
from autodelta.meta.plain import LAG, POWER, REACH, Along, rise
from autodelta.meta.problem import Floats, Source
from autodelta.meta.records import read
from autodelta.meta.repeats import noise_shares
from autodelta.meta.squash import squash

OUT = Path(__file__).parent / "results" / "curves_of_tasks.md"
SHARES = (0.04, 0.07, 0.11, 0.2, 0.35, 0.57, 0.8)  # edges are the geometric means between them
FEWEST = 8  # scores of a task about a share


class Seen(NamedTuple):
    """Of one task about one share."""

    below: float
    spread: float  # of the scores, over that of the ends
    correlation: float


def on_task(task: Source, low: float, high: float) -> Seen | None:
    """What the scores between two shares show; None where there are few, or they or their ends do not differ."""
    offset, scale = task.scaled()
    z, rungs = squash((task.points.scores - offset) / scale), task.points.rungs
    ended = np.flatnonzero(task.points.ended)
    ends = z[ended[np.searchsorted(ended, np.arange(len(z)))]] if len(ended) and ended[-1] == len(z) - 1 else None
    at = (rungs >= low) & (rungs < high) & (rungs < 1.0)
    if ends is None or at.sum() < FEWEST or min(z[at].std(), ends[at].std()) < 1e-9:
        return None
    return Seen(
        below=float((ends[at] - z[at]).mean()),
        spread=float(z[at].std() / ends[at].std()),
        correlation=float(np.corrcoef(z[at], ends[at])[0, 1]),
    )


def report(tasks: Sequence[Source]) -> list[str]:
    """The table in Markdown."""
    shares = noise_shares(tasks)
    clean = 1.0 if shares is None else 1.0 - float(np.median(shares))
    edges = [0.0, *np.sqrt(np.multiply(SHARES[1:], SHARES[:-1])), 1.0]
    lines = [
        "| share of the steps | tasks | below the end (sd over tasks) | taken | spread over the ends' | taken "
        "| correlation with the end | taken |",
        "|---" * 8 + "|",
    ]
    for share, low, high in zip(SHARES, edges[:-1], edges[1:], strict=True):
        found = [one for task in tasks if (one := on_task(task, low, high)) is not None]
        below, spread, correlation = np.array(found).T
        log: Floats = np.log([share])
        near = Along.of(log, np.zeros(1)).share[0, 0] / share**POWER
        lines.append(
            f"| {share} | {len(found)} | {below.mean():.2f} ({below.std():.2f}) | {-rise(log)[0]:.2f} "
            f"({LAG * (1 - share):.2f}) | {np.median(spread):.2f} | {share**POWER:.2f} | {correlation.mean():.2f} | "
            f"{near * clean:.2f} |"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=OUT)
    asked = parser.parse_args()
    tasks = sources(read(asked.table)).tasks
    text = [
        "# How scores rise while a trial goes on",
        "",
        f"`python benchmarks/curves_of_tasks.py`; {len(tasks)} tasks; taken: what `autodelta/meta/plain.py` says, with "
        f"candidates at a share r of the steps spread by r^{POWER} and alike along the log of r within {REACH}.",
        "",
        *report(tasks),
    ]
    write_text(asked.out, "\n".join(text) + "\n")
    print("\n".join(text))


if __name__ == "__main__":
    main()
