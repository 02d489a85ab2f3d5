"""How many steps does ASHA need to come as far as a random search that trains every trial to its end?

    python benchmarks/asha_on_table.py --table DIR

Simulated searches on every task of a recorded table, all at the same seeds and the same budget in device-seconds: ASHA
with candidates at random, so that only the pruner differs, and with those that TPE asks for. The answers are the shares
of the random search's steps at which ASHA's mean regret has come down to the random search's mean regret at its end;
intervals come from resampled tasks and searches.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from autodelta.files import write_json
from autodelta.meta.folds import family
from autodelta.studies.bench import Bench, Comparison, compare
from autodelta.studies.regret import curves, resampled, share_to_reach

POINTS = 200
SAMPLERS = ("random", "tpe")


def ratio(found: Comparison, sampler: str) -> dict[str, object]:
    """The share of steps with its 95 % interval, and what it was found from; null where it does not come so far."""
    steps = next(axis for axis in found.axes if axis.name == "steps")
    full, halving = (found.bench.methods.index(method) for method in (("random", "none"), (sampler, "asha")))
    weights = resampled(list(map(family, found.tasks)), found.bench.searches)
    used = (weights * found.steps[full]).sum(axis=(1, 2))
    shares = [
        share_to_reach(curve[full], curve[halving], steps.grid) / part
        for curve, part in zip(curves(steps.regret, weights), used, strict=True)
    ]
    mean = steps.regret.mean(axis=(1, 2))
    low, high = np.quantile(shares, [0.025, 0.975], method="higher")
    share = share_to_reach(mean[full], mean[halving], steps.grid) / float(found.steps[full].mean())
    return {
        "ratio": share if np.isfinite(share) else None,
        "interval": [float(bound) if np.isfinite(bound) else None for bound in (low, high)],
        "regret_at_the_end": float(mean[halving][-1]),
        "trials": float(found.ended[halving].mean()),
    }


def answer(found: Comparison) -> dict[str, object]:
    """ASHA with every sampler, and the random search that it is measured by."""
    full = found.bench.methods.index(("random", "none"))
    steps = next(axis for axis in found.axes if axis.name == "steps")
    return {
        "asha": {sampler: ratio(found, sampler) for sampler in found.bench.samplers},
        "random": {
            "regret_at_the_end": float(steps.regret[full].mean(axis=(0, 1))[-1]),
            "trials": float(found.ended[full].mean()),
        },
        "tasks": list(found.tasks),
        "searches": found.bench.searches,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, required=True, help="a folder that `autodelta collect` wrote")
    parser.add_argument("--searches", type=int, default=100)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--full-trials", type=int, help="half of the candidates, at most 50, unless told")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "asha_on_table.json")
    arguments = parser.parse_args()
    found = compare(
        Bench(
            table=arguments.table,
            samplers=SAMPLERS,
            pruners=("none", "asha"),
            searches=arguments.searches,
            workers=arguments.workers,
            full_trials=arguments.full_trials,
            jobs=arguments.jobs,
            points=POINTS,
        )
    )
    write_json(arguments.out, answer(found))
    print(json.dumps(answer(found), indent=1))


if __name__ == "__main__":
    main()
