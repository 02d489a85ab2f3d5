"""Do two seeds foretell a third, with what recorded tables and other candidates say of how much seeds scatter?

    python benchmarks/seed_spread.py --table DIR [--table DIR]

Of every recorded candidate with three seeds, any two of three state where the third will lie on test (90 %, by
`autodelta.search.answer.variance`): alone, and beside as many other candidates of its task as a search may confirm, at
as many seeds. Ends with a Markdown table for models of how seeds scatter, the one in use first: how many third seeds
lay inside, how wide the intervals were (median), and the mean log density of the third seed, which is the higher the
better. For comparison the two seeds by themselves, and the mean of variances that was stated before.
"""

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import stats
from scipy.special import digamma

from autodelta.meta.records import read
from autodelta.search.answer.variance import LEAST, RECORDED, Model, Spread, moderated, pooled, prediction, pulled

LEVEL = 0.9
LEAST_SD = 1e-3  # of a density, where seeds agree
OTHERS = ((0, 0), (1, 2), (2, 2), (3, 3))  # how many, at how many seeds
MODELS = (
    RECORDED,
    Model(typical=0.02, of_tasks=0.5, of_candidates=0.75),
    Model(typical=0.02, of_tasks=0.5, of_candidates=0.9),
    Model(typical=0.02, of_tasks=0.75, of_candidates=0.75),
    Model(typical=0.013, of_tasks=0.75, of_candidates=1.0),
    Model(typical=0.03, of_tasks=0.75, of_candidates=1.0),
)


class Case(NamedTuple):
    """Two seeds of a candidate, the third, and those of others of its task."""

    two: list[float]
    third: float
    others: list[list[float]]


Judged = Callable[[Spread, list[Spread]], Spread]


def candidates(tables: Sequence[Path]) -> list[list[list[float]]]:
    """By task, the test scores of each candidate with three seeds."""
    found: dict[str, dict[str, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    for table in tables:
        for record in read(table).records:
            if record.state == "complete" and record.test is not None and record.seed is not None:
                found[record.task][record.candidate.key][record.seed] = record.test
    return [[list(own.values())[:3] for own in task.values() if len(own) >= 3] for task in found.values()]


def cases(tasks: Iterable[list[list[float]]], *, others: int, seeds: int) -> list[Case]:
    """Every third seed, beside so many others, or those that there are."""
    rng = np.random.default_rng(0)
    found = []
    for task in tasks:
        for number, own in enumerate(task):
            rest = [other[:seeds] for place, other in enumerate(task) if place != number]
            if others and not rest:
                continue
            beside = [rest[place] for place in rng.choice(len(rest), min(others, len(rest)), replace=False)]
            for out, third in enumerate(own):
                found.append(Case([score for place, score in enumerate(own) if place != out], third, beside))
    return found


def foretold(given: Iterable[Case], judged: Judged) -> tuple[float, float, float]:
    """Of third seeds: the share inside, the median width, and the mean log density."""
    inside, widths, logs = [], [], []
    for two, third, others in given:
        spread = judged(pooled([two]), [pooled([other]) for other in others])
        found = prediction(two, spread, level=LEVEL)
        assert found is not None
        inside.append(found.low <= third <= found.high)
        widths.append(found.width)
        scale = max(spread.sd, LEAST_SD) * np.sqrt(1 + 1 / len(two))
        logs.append(stats.t.logpdf((third - np.mean(two)) / scale, spread.dof) - np.log(scale))
    return float(np.mean(inside)), float(np.median(widths)), float(np.mean(logs))


def alone(own: Spread, others: list[Spread]) -> Spread:
    return own


def by_geometric_mean(own: Spread, others: list[Spread]) -> Spread:
    """A mean of the own variance, the geometric mean of the others' without its bias, and where hardly anything is
    known 0.02: as answers stated it before."""
    dof = sum(other.dof for other in others)
    if dof:
        logs = [np.log(max(other.sd**2, LEAST)) + np.log(other.dof / 2) - digamma(other.dof / 2) for other in others]
        mean = np.average(logs, weights=[other.dof for other in others])
        own = pulled(own, Spread(sd=float(np.exp(mean / 2)), dof=dof), prior=2)
    return pulled(own, Spread(sd=0.02, dof=2), prior=max(0.0, 4 - own.dof))


def by(model: Model) -> Judged:
    return lambda own, others: moderated(own, others, model=model)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, action="append", required=True)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "seed_spread.md")
    asked = parser.parse_args()
    tasks = candidates(asked.table)
    ways: dict[str, Judged] = {
        **{f"{model.typical:g}, {model.of_tasks:g}, {model.of_candidates:g}": by(model) for model in MODELS},
        "the two seeds alone": alone,
        "a mean with the others' geometric mean": by_geometric_mean,
    }
    given = [cases(tasks, others=others, seeds=seeds) for others, seeds in OTHERS]
    beside = [f"{others} of {seeds} seeds" if others else "no others" for others, seeds in OTHERS]
    lines = [
        f"<!-- benchmarks/seed_spread.py: {sum(map(len, tasks))} candidates with three seeds, {len(tasks)} tasks -->",
        "Third seeds inside 90 %, median width, mean log density, beside as many others at as many seeds; a model is "
        "the typical s.d., and the s.d. of its logarithm from task to task and within a task.",
        "",
        f"| model | {' | '.join(beside)} |",
        "|---" * (1 + len(beside)) + "|",
    ]
    for name, judged in ways.items():
        cells = [", ".join(f"{figure:.3f}" for figure in foretold(some, judged)) for some in given]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    asked.out.write_text("\n".join(lines) + "\n", encoding="utf8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
