"""What packing gains on a machine: ``python benchmarks/packing.py [--device cuda] [--dtype fp32] [--batch 4x16]``.

Steps of K candidates in one pass, against the steps of each alone: medians of interleaved runs on nano, after a step
that warms up. One method or four; everywhere, or in the decoder with the encoder's output kept; each at a seed of its
own, or all with the same batches, as in a search. Seconds are those of the processor (``time.process_time``) on a CPU,
which others may share, and of the wall on CUDA. At the end, what the calibration makes of the same packs. Lines are
added to ``benchmarks/results/packing.csv``.
"""

import argparse
import statistics
from pathlib import Path
from typing import Any

import torch
from trials import ALL_LINEAR, SUBLAYERS, append

from autodelta.backbones import Backbone, load
from autodelta.candidate import Candidate
from autodelta.engine.activations import Activations
from autodelta.engine.calibration import calibrate, clock, uniform
from autodelta.engine.costs import Costs
from autodelta.engine.memory import keep_freed
from autodelta.engine.pack import Pack
from autodelta.engine.train import Trial

RESULT = Path(__file__).parent / "results" / "packing.csv"
SIZES = (2, 4, 8)
METHODS: dict[str, dict[str, Any]] = {
    "lora": {"method": "lora", "roles": ALL_LINEAR, "config": {"rank": 8, "alpha": 16}},
    "bitfit": {"method": "bitfit", "roles": ALL_LINEAR},
    "adapter": {"method": "adapter", "roles": SUBLAYERS, "config": {"bottleneck": 24}},
    "ia3": {"method": "ia3", "roles": [r for r in ALL_LINEAR if r.endswith((".k", ".v", "ffn.out"))]},
}
CASES = (
    ("lora", "everywhere", "own"),
    ("mixed", "everywhere", "own"),
    ("lora", "decoder", "own"),
    ("lora", "decoder", "one"),
    ("mixed", "decoder", "one"),
)


def trial(backbone: Backbone, number: int, rows: int, case: tuple[str, str, str], kept: Activations) -> Trial:
    deltas, where, seeds = case
    given = METHODS[deltas if deltas in METHODS else list(METHODS)[number % len(METHODS)]]
    kinds = backbone.shape.kinds()
    roles = [r for r in given["roles"] if r in kinds and (where == "everywhere" or r.startswith("decoder"))]
    plan = {
        "deltas": [{**given, "roles": roles, "learning_rate": 1e-4}],
        "training": {"steps": 10**6, "batch_size": rows},
    }
    return Trial(backbone, Candidate.model_validate(plan), seed=number if seeds == "own" else 0, kept=kept)


def pack_of(backbone: Backbone, numbers: range, rows: int, length: int, case: tuple[str, str, str]) -> Pack:
    kept = Activations()
    pack = Pack(backbone, kept=kept)
    for number in numbers:
        noise = uniform(backbone, rows, length, seed=number if case[2] == "own" else 0)
        pack.enter(trial(backbone, number, rows, kept=kept, case=case), noise)
    return pack


def measured(
    backbone: Backbone, rows: int, length: int, case: tuple[str, str, str], runs: int, costs: Costs
) -> dict[str, Any]:
    """From the second step on, what can be kept is kept."""
    kinds = len(METHODS) if case[0] == "mixed" else 1
    alone = [pack_of(backbone, range(n, n + 1), rows, length, case) for n in range(kinds)]
    together = {size: pack_of(backbone, range(size), rows, length, case) for size in SIZES}
    gains: dict[int, list[float]] = {size: [] for size in SIZES}
    solo = []
    for run in range(1 + runs):
        times = [seconds(pack, backbone) for pack in alone]
        for size, pack in together.items():
            took = seconds(pack, backbone)
            if run:
                gains[size].append(sum(times[n % kinds] for n in range(size)) / took)
        solo.append(statistics.mean(times))
    name = "one" if case[2] == "one" else None
    works = [t.demand.at(rows, length, 2, memory=name) for t in together[max(SIZES)].trials]
    return {
        "device": backbone.device.type,
        "dtype": backbone.dtype_name,
        "batch": f"{rows} x {length}",
        "deltas": case[0],
        "where": case[1],
        "seeds": case[2],
        "alone_ms": round(1000 * statistics.median(solo[1:]), 1),
        **{f"gain_{size}": round(statistics.median(gains[size]), 2) for size in SIZES},
        **{f"foreseen_{size}": round(costs.gain(works[:size]), 2) for size in SIZES},
        "packed": "+".join(str(len(group)) for group in costs.groups(works)),
    }


def seconds(pack: Pack, backbone: Backbone) -> float:
    began = clock(backbone.device)
    pack.step()
    return clock(backbone.device) - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype")
    parser.add_argument("--batch", default="4x16,16x20,32x64")
    parser.add_argument("--runs", type=int, default=5)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed()  # as workers do
    backbone = load("nano", device=asked.device, dtype=asked.dtype)
    costs = calibrate(backbone)
    print(costs.model_dump_json(), flush=True)
    for batch in asked.batch.split(","):
        rows, length = map(int, batch.split("x"))
        for case in CASES:
            line = measured(backbone, rows, length, case, asked.runs, costs)
            append(RESULT, [line])
            print(*line.values(), flush=True)


if __name__ == "__main__":
    main()
