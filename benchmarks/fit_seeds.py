"""How much is the seed of a fit, and how much what was learned from? Searches on our table, models of several seeds.

    python benchmarks/fit_seeds.py --table DIR [--seeds 1 2 3 4 5] [--learned "all" "without repeats"] [--models DIR]

As in `meta_ablations.py`, models are fitted to folds of tasks that leave the family of the judged task out, here with
each seed, which draws weights, episodes and the judges' folds; the folds of the report stay the same. A model is judged
by a search with `meta` on each of its tasks. Every search is a line of a CSV; called again, the script goes on with the
folds that are missing. Ends with the Markdown table, beside the CSV and printed: the mean of each seed, and the
difference of what was learned from with its 95 % interval: families of tasks are drawn again, and of each fold its
fits, as the tasks of a fold share them.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from meta_ablations import LEARNED, POINTS, searched, subject
from meta_on_our_table import judged
from trials import append, read

from autodelta.meta.compositions import sources
from autodelta.meta.fitting import fit
from autodelta.meta.folds import family, folds
from autodelta.meta.model import Model
from autodelta.meta.problem import Floats, Integers, Sources
from autodelta.meta.records import Table
from autodelta.meta.records import read as read_table
from autodelta.meta.saved import load, save
from autodelta.studies.regret import curves, resampled

RESULTS = Path(__file__).parent / "results"
HEADS = tuple(f"@{point}" for point in POINTS)


def fitted(known: Sources, learned: str, seed: int, folder: Path | None) -> Model:
    """A model of sources, which is kept if there is a folder for it."""
    if folder is not None and folder.exists():
        return load(folder)
    model = fit(LEARNED[learned](known), seed=seed)
    if folder is not None:
        save(model, folder)
    return model


def of_fold(
    known: Sources, table: Table, inside: Sequence[int], learned: str, seed: int, folder: Path | None
) -> list[dict[str, object]]:
    """A line for each task of a fold."""
    model = fitted(known.without(list(inside)).usable(), learned, seed, folder)
    rows: list[dict[str, object]] = []
    for at in inside:
        given = subject(known, known.tasks[at], table.of(known.tasks[at].name))
        found = searched(model.on(given.task.features), "meta", given, int(at) * 100 + seed)
        regrets = {head: f"{found[point - 1]:.4f}" for head, point in zip(HEADS, POINTS, strict=True)}
        rows.append({"learned": learned, "seed": seed, "task": given.task.name, **regrets})
    return rows


def weighed(families: Sequence[str], fold: Integers, seeds: int) -> Floats:
    """Weights of shape (resamples, tasks, seeds): families drawn with replacement, and the fits of each fold."""
    tasks = resampled(families, 1)
    fits = np.stack([resampled(["all"], seeds, seed=1 + out)[:, 0] for out in range(fold.max() + 1)], axis=1)
    return np.asarray(tasks * fits[:, fold])


def lines(
    rows: Sequence[dict[str, str]], folded: Mapping[str, int], learned: Sequence[str], seeds: Sequence[int]
) -> list[str]:
    """The table in Markdown, of these seeds, which the rows must hold, and of tasks with the fold of each."""
    found = {(row["learned"], row["seed"], row["task"]): [float(row[head]) for head in HEADS] for row in rows}
    tasks = list(folded)
    regrets: Floats = np.array(  # (learned, tasks, seeds, points)
        [[[found[name, str(seed), task] for seed in seeds] for task in tasks] for name in learned]
    )
    families = [family(task) for task in tasks]
    weights = weighed(families, np.array(list(folded.values())), len(seeds))
    drawn = curves(regrets, weights)  # (draws, learned, points)
    text = [f"{len(tasks)} tasks of {len(set(families))} families. Mean normalised regret:", ""]
    text += [f"| learned from | seed | {' | '.join(HEADS)} |", "|---" * (len(HEADS) + 2) + "|"]
    for at, name in enumerate(learned):
        for number, seed in enumerate(seeds):
            text.append(f"| {name} | {seed} | " + " | ".join(f"{v:.3f}" for v in regrets[at, :, number].mean(0)) + " |")
        text.append(f"| **{name}** | mean | " + " | ".join(f"{v:.3f}" for v in regrets[at].mean((0, 1))) + " |")
    for at, name in enumerate(learned[1:], start=1):
        low, high = np.quantile(drawn[:, at] - drawn[:, 0], [0.025, 0.975], axis=0)
        more = regrets[at].mean((0, 1)) - regrets[0].mean((0, 1))
        cells = (f"{m:+.3f} ({a:+.3f} to {b:+.3f})" for m, a, b in zip(more, low, high, strict=True))
        text.append(f"| {name}, less {learned[0]} | | " + " | ".join(cells) + " |")
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, required=True, help="a folder that `autodelta collect` wrote or writes")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--learned", nargs="+", default=["all", "without repeats"], choices=LEARNED)
    parser.add_argument("--folds", type=int, default=10)
    parser.add_argument("--models", type=Path, help="where models are kept (default: nowhere)")
    parser.add_argument("--out", type=Path, default=RESULTS / "fit_seeds.csv")
    asked = parser.parse_args()
    table, _ = judged(read_table(asked.table))
    known = sources(table)
    fold = folds([task.family for task in known.tasks], asked.folds, seed=0)
    done = {(row["learned"], row["seed"], row["task"]) for row in read(asked.out)}
    for seed in asked.seeds:
        for learned in asked.learned:
            for out in range(asked.folds):
                inside = np.flatnonzero(fold == out).tolist()
                if all((learned, str(seed), known.tasks[at].name) in done for at in inside):
                    continue
                kept = asked.models and asked.models / f"{learned.replace(' ', '-')}-{seed}-{out}"
                append(asked.out, of_fold(known, table, inside, learned, seed, kept))
                print(learned, seed, out, flush=True)
    folded = {task.name: int(out) for task, out in zip(known.tasks, fold, strict=True)}
    text = ["<!-- benchmarks/fit_seeds.py -->", *lines(read(asked.out), folded, asked.learned, asked.seeds)]
    asked.out.with_suffix(".md").write_text("\n".join(text) + "\n", encoding="utf8")
    print("\n".join(text))


if __name__ == "__main__":
    main()
