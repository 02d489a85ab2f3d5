"""What trials hold: ``python benchmarks/memory_of_trials.py [--data TASKS --task rte --trials 200]``.

A training step on nano at batch 1, 8 and 32 (the largest batch that a training of 40 steps sees), counted as trials are
metered on a CPU: weights, gradients with AdamW's moments, and what is kept for the backward pass; beside full
fine-tuning, as in Ding et al. 2023. And many short trials of the default space in one worker: the process's peak in the
last fifty against that in the first fifty (must hold: 2 %). Written to ``benchmarks/results/memory_of_trials.md``.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from trials import DELTAS, Job, candidate

from autodelta import tasks
from autodelta.backbones import load
from autodelta.engine.assignment import Assignment, WorkerSpec
from autodelta.engine.constraints import largest_batch
from autodelta.engine.encode import encode
from autodelta.engine.train import Trial
from autodelta.space import Space

RESULT = Path(__file__).parent / "results" / "memory_of_trials.md"
SIZES, FIFTY = (1, 8, 32), 50
MIB = 2**20


def steps(name: str, data: Path | None) -> Iterator[str]:
    backbone, task = load("nano"), tasks.load(name, data=data)
    train = encode(backbone, task, "train")
    whole: dict[int, float] = {}
    for deltas in sorted(DELTAS, key=lambda one: one != "full"):
        cells = []
        for size in SIZES:
            plan = candidate(Job("", Path(), "", (deltas,), 0, 40, size), backbone.shape)
            trial = Trial(backbone, plan, seed=0)
            held = [*backbone.model.parameters(), *trial.composition.parameters()]
            weights = sum({tensor.data_ptr(): tensor.nbytes for tensor in held}.values())
            state = 3 * sum(tensor.nbytes for tensor in trial.composition.parameters())
            trial.gradients(largest_batch(plan, train, seed=0), size)
            peak = trial.meter.peak
            whole.setdefault(size, peak)
            parts = " + ".join(f"{part / MIB:.0f}" for part in (weights, state, peak - weights - state))
            cells.append(f"{parts} = {peak / MIB:.0f} ({peak / whole[size]:.0%})")
        yield f"| {deltas} | {' | '.join(cells)} |"


def peak_bytes() -> int:
    """The process's largest resident size since this was asked before, where the kernel lets it be reset."""
    status = Path("/proc/self/status").read_text(encoding="utf8")
    found = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    Path("/proc/self/clear_refs").write_text("5", encoding="utf8")
    return found * 1024


def many(trials: int) -> str:
    worker = WorkerSpec(backbone="nano", task="demo/topic?train=200&validation=60&test=60").open()
    space, rng = Space.load("default", worker.backbone.shape), np.random.default_rng(0)
    peaks = []
    for number in range(trials):
        drawn = space.sample(rng)
        plan = drawn.model_copy(update={"training": drawn.training.model_copy(update={"steps": 3})})
        for _ in worker.run(Assignment(number=number, candidate=plan, seed=0, report_at=(3,))):
            pass
        worker.close_trial()
        peaks.append(peak_bytes())
    first, last = max(peaks[:FIFTY]), max(peaks[-FIFTY:])
    return f"| {trials} | {first / MIB:.0f} | {last / MIB:.0f} | {last / first - 1:+.1%} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--task", default="demo/topic")
    parser.add_argument("--trials", type=int, default=200)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    lines = [
        f"<!-- benchmarks/memory_of_trials.py: nano in bfloat16 where the CPU has it, {asked.task}, MiB: weights +",
        "gradients and moments + kept for the backward pass = peak (of full fine-tuning's) -->",
        f"| deltas | {' | '.join(f'batch {size}' for size in SIZES)} |",
        "|---" * (1 + len(SIZES)) + "|",
        *steps(asked.task, asked.data),
        "",
        "| short trials in one process | peak of the first 50, MiB | of the last 50 | more |",
        "|---|---|---|---|",
        many(asked.trials),
    ]
    RESULT.write_text("\n".join(lines) + "\n", encoding="utf8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
