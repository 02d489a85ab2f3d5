"""How much of the best scores of a search is the luck of a seed, and whether of first weights or of the order of rows?

    python benchmarks/luck_of_the_best.py RUN [RUN ...]

The candidates that scored best in a search are trained again, with the first weights, the order of rows, or both of a
fresh seed, the rest as it was in the search. Ends with a Markdown table of mean scores on validation. Runs of before
decision 0028, all of whose trials have one seed, show what that gave away.
"""

import argparse
from pathlib import Path
from statistics import mean
from unittest.mock import patch

import torch

from autodelta.engine.assignment import Assignment
from autodelta.engine.schedule import order_seed
from autodelta.engine.worker import Worker
from autodelta.search.records import TrialRecord
from autodelta.search.run import Run, open_run
from autodelta.search.seeds import Purpose, derived

FRESH = 2  # seeds
WAYS = ("at the search's seed", "another order", "other weights", "both")


def best(run: Run, most: int) -> list[TrialRecord]:
    """The trial of each of the candidates that scored best."""
    ended = [trial for trial in run.trials if trial.state == "complete" and trial.score is not None]
    ranked = sorted(ended, key=lambda trial: -(trial.score or 0.0))
    return list({trial.candidate: trial for trial in reversed(ranked)}.values())[::-1][:most]


def score(worker: Worker, trial: TrialRecord, *, weights: int, order: int) -> float:
    """On validation, with first weights of one seed and the order of rows of another."""
    assert trial.candidate is not None
    given = Assignment(
        number=trial.number, candidate=trial.candidate, seed=weights, report_at=(trial.candidate.training.steps,)
    )
    with (
        patch("autodelta.engine.train.order_seed", lambda seed: order_seed(order)),
        patch("autodelta.engine.roster.order_seed", lambda seed: order_seed(order)),
    ):
        return list(worker.run(given))[-1].score


def row(run: Run, most: int) -> str:
    """A line of the table."""
    worker, trials = run.settings.worker.open(), best(run, most)
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    for trial in trials:
        assert trial.score is not None
        assert trial.seed is not None
        found["at the search's seed"].append(trial.score)
        for number in range(FRESH):
            fresh = derived(run.settings.seed, Purpose.CONFIRMATION, number)
            found["another order"].append(score(worker, trial, weights=trial.seed, order=fresh))
            found["other weights"].append(score(worker, trial, weights=fresh, order=trial.seed))
            found["both"].append(score(worker, trial, weights=fresh, order=fresh))
    cells = [f"{mean(found[way]):.3f}" for way in WAYS]
    return f"| {run.name}, {len(trials)} best of {len(run.trials)} trials | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="folders of searches")
    parser.add_argument("--most", type=int, default=8)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    lines = [f"| search | {' | '.join(WAYS)} |", "|---" * (1 + len(WAYS)) + "|"]
    for path in asked.runs:
        lines.append(row(open_run(path), asked.most))
        print(lines[-1], flush=True)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
