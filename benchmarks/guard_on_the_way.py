"""Is a wrong past told from a sound one where most trials are stopped on their way?

    python benchmarks/guard_on_the_way.py --table DIR [--searches 6]

The tables of `meta_on_our_table.py` and of the public table judge the guard by whole trials. Under `asha`, the default,
most scores are early ones. Here searches are simulated on recorded curves, as they are (`sound`: the shipped model has
learned from these tasks) and dealt out anew among the candidates of the same number of steps, the best curve to the one
that a smooth function of the candidate prefers (`unrelated`: the past is about something else). Ends with a Markdown
table: how far each story of the past is believed by the number of scores, with and without a pruner, and the regret of
what a search hands over with `meta` and without transfer.
"""

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from autodelta.files import write_text
from autodelta.meta import past, policies
from autodelta.meta.compositions import configurations
from autodelta.meta.model import Model
from autodelta.meta.on_task import OnTask
from autodelta.meta.problem import Configurations, Flags, Floats
from autodelta.meta.records import read
from autodelta.meta.weighed import STORIES
from autodelta.search.budget import Budget
from autodelta.search.samplers import Scene
from autodelta.search.samplers.meta import ranked
from autodelta.search.simulation import simulate
from autodelta.search.transfer import fitted
from autodelta.studies.bench import Bench, Subject, subject

OUT = Path(__file__).parent / "results" / "guard_on_the_way.md"
TRIALS = 12  # the budget of a search, in whole trials
FROM = (2, 5, 10, 20)  # scores, by which beliefs are told apart
COLUMNS = 8  # of the drawn function
PRUNERS = ("none", "asha")
PASTS = ("sound", "unrelated")


class Noted(NamedTuple):
    """What was believed at one ask."""

    scores: int
    stories: list[float]


def dealt_out(on: Subject, model: Model, seed: int) -> Subject:
    """The task with its curves dealt out anew, by a function drawn from this seed."""
    candidates = [one for one, _ in on.pool if one.key in on.regret]
    vectors = model.plain.vectors(configurations(candidates, on.space.shape))
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(vectors.shape[1], COLUMNS)) * 0.3 / np.sqrt(vectors.std(axis=0).sum() + 1e-9)
    liked = np.tanh(vectors @ weights) @ rng.normal(size=COLUMNS)
    trials, regret = dict(on.trials), dict(on.regret)
    for steps in sorted({one.training.steps for one in candidates}):
        at = [row for row, one in enumerate(candidates) if one.training.steps == steps]
        theirs = sorted(at, key=lambda row: on.regret[candidates[row].key])
        for row, other in zip(sorted(at, key=lambda row: -liked[row]), theirs, strict=True):
            trials[candidates[row].key] = on.trials[candidates[other].key]
            regret[candidates[row].key] = on.regret[candidates[other].key]
    return replace(on, trials=trials, regret=regret)


def searched(on: Subject, scene: Scene, policy: str, pruner: str, seed: int) -> float:
    """The regret of what a search hands over."""
    budget = Budget(text="", cpu_seconds=on.full_seconds / on.full_trials * TRIALS)
    rank = ranked(policy, scene)
    found = simulate(on.space, on.pool, on.trials, budget, rank=rank, pruner_name=pruner, seed=seed)
    best = [moment.best for moment in found.moments if moment.best]
    return on.regret[best[-1]] if best else 1.0


def noting(noted: list[Noted]) -> Mapping[str, policies.Policy]:
    """The policies, of which `meta` writes down what it believes."""

    def meta(on: OnTask, pool: Configurations, taken: Flags, rng: np.random.Generator) -> policies.Choice:
        if len(on) >= FROM[0]:
            noted.append(Noted(len(on), on.stories()))
        return policies.meta(on, pool, taken, rng)

    return {**policies.POLICIES, "meta": meta}


def cases(of: str, subjects: Mapping[str, Subject], model: Model, searches: int) -> Iterator[tuple[str, Subject, int]]:
    """Each task as often as is searched, with the seed of the search."""
    for task, on in subjects.items():
        for seed in range(searches):
            yield task, on if of == "sound" else dealt_out(on, model, seed), seed


def believed(noted: list[Noted]) -> list[str]:
    """Cells: the mean belief in each story between the numbers of scores."""
    cells = []
    for low, high in pairwise([*FROM, 10**9]):
        found = [one.stories for one in noted if low <= one.scores < high]
        cells.append(" / ".join(f"{share:.2f}" for share in np.mean(found, axis=0)) if found else "")
    return cells


def differ(meta: Floats, plain: Floats) -> str:
    gain = meta - plain
    return f"{meta.mean():.3f} | {plain.mean():.3f} | {gain.mean():+.3f} ({gain.std(ddof=1) / len(gain) ** 0.5:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, required=True, help="recorded curves, of tasks with many candidates")
    parser.add_argument("--searches", type=int, default=6, help="of each task")
    parser.add_argument("--out", type=Path, default=OUT)
    asked = parser.parse_args()
    table = read(asked.table)
    subjects = {task: subject(Bench(table=asked.table), table, task) for task in table.tasks}
    scenes = {task: Scene(on.space, table.tasks[task].features, past.BUNDLED) for task, on in subjects.items()}
    model = fitted(next(iter(scenes.values())))
    names, numbers = ", ".join(story.name for story in STORIES), " | ".join(f"from {number}" for number in FROM)
    lines = [
        "# What is believed of the past while trials are on their way",
        "",
        f"`python benchmarks/guard_on_the_way.py`: {', '.join(subjects)}, {asked.searches} searches of {TRIALS} whole "
        f"trials' time each. Belief in {names}, by the number of scores; regret in the end (se of the difference).",
        "",
        f"| past | pruner | {numbers} | `meta` | without transfer | difference |",
        "|---" * (len(FROM) + 5) + "|",
    ]
    for of in PASTS:
        for pruner in PRUNERS:
            noted: list[Noted] = []
            policies.POLICIES = noting(noted)
            regrets = [
                [searched(on, scenes[task], policy, pruner, seed) for policy in ("meta", "plain")]
                for task, on, seed in cases(of, subjects, model, asked.searches)
            ]
            meta, plain = np.array(regrets).T
            lines.append(f"| {of} | {pruner} | {' | '.join(believed(noted))} | {differ(meta, plain)} |")
            print(lines[-1], flush=True)
    write_text(asked.out, "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
