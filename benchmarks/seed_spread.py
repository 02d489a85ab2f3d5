"""Do two seeds foretell a third, with what recorded tables say of seeds and without?

    python benchmarks/seed_spread.py --table DIR [--table DIR]

Of every recorded candidate with three seeds or more, any two of three state where the third will lie on test (90 %, by
`autodelta.search.answer.variance.prediction`). Ends with a Markdown table: how many third seeds lay inside, and how
wide the intervals were; for all candidates, and for those among the best third of their task.
"""

import argparse
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from autodelta.meta.records import read
from autodelta.search.answer.variance import ENOUGH, FEW, RECORDED, Spread, moderated, pooled, prediction

LEVEL = 0.9
BEST = 2 / 3  # the share of a task's candidates that lie below the best third
PRIORS = (RECORDED, *(Spread(sd=sd, dof=dof) for sd, dof in ((0.013, 1), (0.013, 2), (0.02, 1), (0.03, 2))))


def seeds(tables: Sequence[Path]) -> tuple[list[list[float]], list[list[float]]]:
    """Test scores of candidates with three seeds: of all, and of the best of each task."""
    found: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for table in tables:
        for record in read(table).records:
            if record.state == "complete" and record.test is not None:
                found[str(table), record.task][record.candidate.key].append(record.test)
    every, best = [], []
    for task in found.values():
        bar = np.quantile([np.mean(scores) for scores in task.values()], BEST)
        three = [scores[:3] for scores in task.values() if len(scores) >= 3]
        every += three
        best += [scores for scores in three if np.mean(scores) >= bar]
    return every, best


def held(samples: Sequence[Sequence[float]], prior: Spread | None) -> tuple[float, float]:
    """The share of third seeds inside, and the median width."""
    inside, widths = [], []
    for scores in samples:
        for out, third in enumerate(scores):
            two = [score for number, score in enumerate(scores) if number != out]
            spread = pooled([two])
            if prior is not None:
                spread = moderated(spread, prior, enough=ENOUGH)
            found = prediction(two, spread, level=LEVEL)
            assert found is not None
            inside.append(found.low <= third <= found.high)
            widths.append(found.width)
    return float(np.mean(inside)), float(np.median(widths))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, action="append", required=True)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "seed_spread.md")
    asked = parser.parse_args()
    every, best = seeds(asked.table)
    lines = [
        f"<!-- benchmarks/seed_spread.py: {len(every)} candidates with three seeds, {len(best)} of the best thirds; "
        f"used: s.d. {RECORDED.sd}, {RECORDED.dof} degrees of freedom, up to {FEW} in all -->",
        "| recorded s.d., degrees of freedom | third seeds inside | median width | of the best third | median width |",
        "|---|---|---|---|---|",
    ]
    for prior in (None, *PRIORS):
        cells = [f"{share:.3f} | {width:.3f}" for share, width in (held(every, prior), held(best, prior))]
        name = "none" if prior is None else f"{prior.sd}, {prior.dof}"
        lines.append(f"| {name} | {' | '.join(cells)} |")
    asked.out.write_text("\n".join(lines) + "\n", encoding="utf8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
