"""Do two seeds foretell a third, with what recorded tables say of seeds and without?

    python benchmarks/seed_spread.py --table DIR [--table DIR]

Of every recorded candidate with three seeds or more, any two of three state where the third will lie on test (90 %, by
`autodelta.search.answer.variance.prediction`). Ends with two Markdown tables: how many third seeds lay inside, and how
wide the intervals were. First of candidates alone: of all, and of those among the best third of their task. Then with
what three others of the task say of how much seeds scatter, as finalists of a search have it: by the way in which the
others' variances are brought together, and the degrees of freedom that they count as; with the mean log density of the
third seed, which is the higher the better.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from scipy import stats

from autodelta.meta.records import read
from autodelta.search.answer.variance import FEW, PRIOR, RECORDED, Spread, moderated, pooled, prediction, typical

LEVEL = 0.9
LEAST_SD = 1e-3  # of a density, where seeds agree
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


def with_others(tables: Sequence[Path]) -> list[tuple[list[float], list[list[float]]]]:
    """The seeds of a candidate with three, and those of three others of its task."""
    found: dict[str, dict[str, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    for table in tables:
        for record in read(table).records:
            if record.state == "complete" and record.test is not None and record.seed is not None:
                found[record.task][record.candidate.key][record.seed] = record.test
    rng = np.random.default_rng(0)
    cases = []
    for task in found.values():
        three = [list(scores.values())[:3] for scores in task.values() if len(scores) >= 3]
        for number, own in enumerate(three):
            rest = [other for place, other in enumerate(three) if place != number]
            if len(rest) >= 2:
                picked = rng.choice(len(rest), min(3, len(rest)), replace=False)
                cases.append((own, [rest[place] for place in picked]))
    return cases


def foretold(cases: Iterable[tuple[Sequence[float], Spread]], *, prior: int) -> tuple[float, float, float]:
    """Of the third of three seeds, from two of them and what else is known of how much seeds scatter: the share inside,
    the median width, and the mean log density."""
    inside, widths, logs = [], [], []
    for own, known in cases:
        for out, third in enumerate(own):
            two = [score for number, score in enumerate(own) if number != out]
            spread = moderated(pooled([two]), known, prior=prior, enough=100)
            found = prediction(two, spread, level=LEVEL)
            assert found is not None
            inside.append(found.low <= third <= found.high)
            widths.append(found.width)
            scale = max(spread.sd, LEAST_SD) * np.sqrt(1 + 1 / len(two))
            logs.append(stats.t.logpdf((third - np.mean(two)) / scale, spread.dof) - np.log(scale))
    return float(np.mean(inside)), float(np.median(widths)), float(np.mean(logs))


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
    for known in (Spread(sd=0.0, dof=0), *PRIORS):
        found = [foretold([(own, known) for own in samples], prior=known.dof) for samples in (every, best)]
        cells = [f"{share:.3f} | {width:.3f}" for share, width, _ in found]
        name = f"{known.sd}, {known.dof}" if known.dof else "none"
        lines.append(f"| {name} | {' | '.join(cells)} |")
    cases = with_others(asked.table)
    lines += [
        "",
        f"With three others of the task, {len(cases)} candidates; used: typical, {PRIOR} degrees of freedom.",
        "",
        "| others' variance, counts as | third seeds inside | median width | mean log density |",
        "|---|---|---|---|",
    ]
    for name, brought in (("pooled", pooled), ("typical", typical)):
        for prior in (0, 1, 2, 3, 4, 8) if name == "typical" else (1, 2, 4, 8):
            told = foretold([(own, brought(others)) for own, others in cases], prior=prior)
            cells = [f"{figure:.3f}" for figure in told]
            lines.append(f"| {f'{name}, {prior}' if prior else 'not used'} | {' | '.join(cells)} |")
    asked.out.write_text("\n".join(lines) + "\n", encoding="utf8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
