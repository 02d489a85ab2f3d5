"""How wide must an interval be before a task's first trials? Ways of treating what is not known of a task's level.

    python benchmarks/level_of_tasks.py --oboe FOLDER [--splits 100 101]

On splits of the public table from 100 on (0 to 9 are the report's), for tasks that the model has not seen. Each way's
intervals are stretched by the factor with which just 90 % of the scores lie inside, so that ways differ in nothing but
how wide they then are, and in the interval score (Gneiting and Raftery 2007, eq. 43; lower is better): the width, and
20 times how far a score lies outside. Writes the Markdown table beside the other results, and prints it.
"""

import argparse
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import oboe
import torch

from autodelta.meta import on_task
from autodelta.meta.fitting import fit
from autodelta.meta.model import Model
from autodelta.meta.on_task import OnTask
from autodelta.meta.problem import Floats, Points
from autodelta.meta.squash import seen, unseen

RESULTS = Path(__file__).parent / "results"
SHOWN = (0, 1, 2, 3, 5, 10, 25)
SHARE = 0.9
ASKED = 40  # configurations of each task, drawn
ALWAYS, NEVER = 10**9, 0  # scores from which on the level is taken as told


class Case(NamedTuple):
    """What was foretold of one task's other configurations, on the scale on which intervals are stretched."""

    scores: Floats
    low: Floats
    middle: Floats
    high: Floats
    level: tuple[float, float]


def of_any_task(model: Model) -> Model:
    """The same model with a level that asks no features."""
    found = model.levels
    return dataclasses.replace(
        model, levels=found._replace(at_zero=found.mean, weights=np.zeros_like(found.weights), error=found.sd)
    )


WAYS: dict[str, tuple[Callable[[Model], Model], int]] = {
    "as it ships": (lambda model: model, on_task.LEVEL_KNOWN),
    "level of any task": (of_any_task, on_task.LEVEL_KNOWN),
    "always summed over levels": (lambda model: model, ALWAYS),
    "level always as told": (lambda model: model, NEVER),
    "level of any task, as told": (of_any_task, NEVER),
}


def case(on: OnTask, table: oboe.Table, scores: Floats, shown: Sequence[int], asked: Sequence[int]) -> Case:
    """What is foretold of some configurations after the scores of others."""
    if len(shown):
        on.observe(table.configurations, Points.of_ends(shown, scores[list(shown)]))
    quantiles = on.seen_quantiles(table.configurations.take(asked), ((1 - SHARE) / 2, 0.5, (1 + SHARE) / 2))
    return Case(scores[list(asked)], *quantiles, on.level)


def judged(cases: Sequence[Case], ends: tuple[float, float]) -> tuple[float, float, float]:
    """The factor with which 90 % lie inside, the mean width then, and the mean interval score."""
    far = []
    for one in cases:
        found = seen(one.scores, *one.level)
        above = (found - one.middle) / (one.high - one.middle)
        far.append(np.where(found > one.middle, above, (one.middle - found) / (one.middle - one.low)))
    factor = float(np.quantile(np.concatenate(far), SHARE))
    widths, outside = [], []
    for one in cases:
        low = np.clip(unseen(one.middle - factor * (one.middle - one.low), *one.level), *ends)
        high = np.clip(unseen(one.middle + factor * (one.high - one.middle), *one.level), *ends)
        widths.append(float((high - low).mean()))
        off = np.maximum(low - one.scores, 0) + np.maximum(one.scores - high, 0)
        outside.append(float(2 / (1 - SHARE) * off.mean()))
    return factor, float(np.mean(widths)), float(np.mean(widths) + np.mean(outside))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--oboe", type=Path, required=True, help="the folder that holds error.csv.gz")
    parser.add_argument("--splits", type=int, nargs="+", default=[100, 101])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    table = oboe.read(arguments.oboe)
    ends = (float(table.scores.min()), float(table.scores.max()))
    cases: dict[tuple[str, int], list[Case]] = {(way, shown): [] for way in WAYS for shown in SHOWN}
    foretold = []
    for seed in arguments.splits:
        found = oboe.split(table, seed)
        model = fit(oboe.sources(table, found, seed), seed=seed)
        foretold.append(f"split {seed}: offset {_error(model, 0)}, log scale {_error(model, 1)}")
        rng = np.random.default_rng(seed)
        for task in map(int, found.unseen):
            order = rng.permutation(len(table.configurations)).tolist()
            for (way, shown), known in cases.items():
                changed, on_task.LEVEL_KNOWN = WAYS[way]
                on = changed(model).on(table.features[task])
                known.append(case(on, table, table.scores[task], order[:shown], order[-ASKED:]))
    lines = [
        "# What is not known of a task's level\n",
        "Error of the level that features foretell, families left out, and its spread over tasks: "
        f"{'; '.join(foretold)}. {len(arguments.splits) * oboe.UNSEEN} unseen tasks.\n",
        "Mean width of the intervals that hold 90 % of the scores / mean interval score / factor needed for that,"
        " after so many trials\n",
        "| way | " + " | ".join(map(str, SHOWN)) + " |",
        "| --- |" + " --- |" * len(SHOWN),
    ]
    for way in WAYS:
        cells = []
        for shown in SHOWN:
            factor, width, score = judged(cases[way, shown], ends)
            cells.append(f"{width:.3f} / {score:.3f} / {factor:.2f}")
        lines.append(f"| {way} | " + " | ".join(cells) + " |")
    text = "\n".join(lines) + "\n"
    (RESULTS / "level_of_tasks.md").write_text(text, encoding="utf-8")
    print(text)


def _error(model: Model, column: int) -> str:
    return f"{model.levels.error[column]:.3f} of {model.levels.sd[column]:.3f}"


if __name__ == "__main__":
    main()
