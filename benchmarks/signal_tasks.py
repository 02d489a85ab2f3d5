"""Which tasks tell candidates apart? Those where candidates spread more than twice as far as seeds do.

    python benchmarks/signal_tasks.py --table DIR

Reads a recorded table (`autodelta collect --plan benchmarks/plans/bundled.yaml`); scores are the task's own metric on
test, which nothing was chosen by. The spread between seeds is the standard deviation within candidates, pooled over
those that were trained on several seeds; the spread between candidates that of their means over seeds, less what the
seeds alone would give (a mean of n seeds varies by 1/n of their variance), so that noise never passes for signal.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean, variance
from typing import NamedTuple

from autodelta.meta.records import Record, read

RATIO = 2.0
FEWEST = 5  # candidates, and degrees of freedom between seeds: with less nothing is said of a task


class Signal(NamedTuple):
    """How a task spreads its candidates."""

    task: str
    candidates: int
    repeated: int
    between: float  # standard deviation of candidates, seeds taken out
    seeds: float  # standard deviation between seeds
    best: str
    score: float

    @property
    def ratio(self) -> float:
        return self.between / max(self.seeds, 1e-9)

    @property
    def clear(self) -> bool:
        return self.ratio > RATIO


def signals(records: Iterable[Record]) -> list[Signal]:
    """Every task with enough trials, the clearest signal first."""
    found: dict[str, dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        if record.state == "complete" and record.test is not None:
            found[record.task][record.candidate.key].append(record)
    all_of_them = (_signal(task, list(groups.values())) for task, groups in found.items())
    return sorted((one for one in all_of_them if one is not None), key=lambda one: -one.ratio)


def _signal(task: str, groups: Sequence[Sequence[Record]]) -> Signal | None:
    scores = [[record.test for record in group if record.test is not None] for group in groups]
    repeated = [one for one in scores if len(one) > 1]
    freedom = sum(len(one) - 1 for one in repeated)
    if min(len(scores), freedom) < FEWEST:
        return None
    within = sum(variance(one) * (len(one) - 1) for one in repeated) / freedom
    noise = mean(within / len(one) for one in scores)
    between = max(0.0, variance(mean(one) for one in scores) - noise)
    best = max(groups, key=lambda group: mean(record.test or 0.0 for record in group))
    return Signal(
        task=task,
        candidates=len(scores),
        repeated=len(repeated),
        between=between**0.5,
        seeds=within**0.5,
        best="+".join(best[0].candidate.methods),
        score=mean(record.test or 0.0 for record in best),
    )


def table(found: Sequence[Signal]) -> str:
    """As Markdown, with a line that counts."""
    real = [one for one in found if not one.task.startswith("demo/") and "@" not in one.task]
    said = f"Signal on {sum(one.clear for one in real)} of {len(real)} real tasks at their full size"
    said += f", {sum(one.clear for one in found)} of all {len(found)}."
    columns = (
        "task",
        "candidates (repeated)",
        "between candidates",
        "between seeds",
        "ratio",
        "signal",
        "best",
        "its test score",
    )
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    lines += [
        f"| {one.task} | {one.candidates} ({one.repeated}) | {one.between:.4f} | {one.seeds:.4f} | {one.ratio:.1f} | "
        f"{'yes' * one.clear} | {one.best} | {one.score:.3f} |"
        for one in found
    ]
    return "\n".join([said, "", *lines])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, required=True, help="a folder that `autodelta collect` wrote")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "signal_tasks.md")
    arguments = parser.parse_args()
    text = table(signals(read(arguments.table).records))
    arguments.out.write_text(f"<!-- benchmarks/signal_tasks.py -->\n{text}\n", encoding="utf8")
    print(text)


if __name__ == "__main__":
    main()
