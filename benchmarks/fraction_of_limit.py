"""How near a trial comes to what a machine can do: ``python benchmarks/fraction_of_limit.py [--data DIR --task rte]``.

For each phase of a trial on nano, on one thread: products that must be made (as torch counts them; an optimiser's dozen
operations a parameter), divided by CPU-seconds times the rate of a large matrix product in the same dtype. Medians of
interleaved runs; written to ``benchmarks/results/fraction_of_limit.md``.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from limit import OPERATIONS, operations
from trials import Job, candidate

from autodelta import tasks
from autodelta.backbones import load
from autodelta.engine.encode import batches, encode
from autodelta.engine.evaluate import label_log_likelihoods
from autodelta.engine.forward import Forward
from autodelta.engine.memory import keep_freed
from autodelta.engine.train import Trial

RESULT = Path(__file__).parent / "results" / "fraction_of_limit.md"
ROUNDS, SCORED, SIZE = 8, 128, 1024


def seconds(action: Callable[[], object]) -> float:
    began = time.process_time()
    action()
    return time.process_time() - began


def phases(name: str, data: Path | None, dtype: str) -> Iterator[tuple[str, float, list[float]]]:
    """Each phase's name, operations, and CPU-seconds of each round."""
    backbone, task = load("nano", dtype=dtype), tasks.load(name, data=data)
    train, whole = encode(backbone, task, "train"), encode(backbone, task, "validation")
    shown = whole.only(whole.by_length()[:: max(1, len(whole) // SCORED)])
    trial = Trial(backbone, candidate(Job("", Path(), "", ("lora",), 0, ROUNDS, 16), backbone.shape), seed=0)
    bare, batch = Forward(backbone.model), next(batches(train, batch_size=16, seed=0))
    state: dict[str, Any] = {}

    def frozen() -> None:
        with torch.no_grad():
            bare.encode(batch.input_ids, batch.mask)

    def encoder() -> None:
        state["memory"] = trial.forward.encode(batch.input_ids, batch.mask)

    def decoder() -> None:
        state["loss"] = trial.forward.loss(state["memory"], batch.targets)

    def backward() -> None:
        trial.forget_gradients()
        state["loss"].backward()

    def optimiser() -> None:
        trial.begin_step()
        trial.clip()
        trial.update()

    actions: dict[str, Callable[[], object]] = {
        "frozen encoder": frozen,
        "encoder with deltas": encoder,
        "decoder and loss": decoder,
        "backward": backward,
        "clipping and optimiser": optimiser,
        f"scoring {len(shown)} rows by text": lambda: label_log_likelihoods(trial.forward, shown),
        f"scoring {len(shown)} rows among labels": lambda: label_log_likelihoods(trial.forward, shown, loss="labels"),
    }
    needed = {phase: float(operations(action)) for phase, action in actions.items()}
    needed["clipping and optimiser"] = OPERATIONS * sum(p.numel() for p in trial.composition.parameters())
    square = torch.randn(SIZE, SIZE).to(backbone.dtype)
    actions["a large product"] = lambda: [square @ square for _ in range(4)]
    needed["a large product"] = 4 * 2.0 * SIZE**3
    times: dict[str, list[float]] = {phase: [] for phase in actions}
    for _ in range(ROUNDS - 1):  # of the trial's steps, one is counted
        for phase, action in actions.items():
            times[phase].append(seconds(action))
    for phase, found in times.items():
        yield phase, needed[phase], found[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--task", default="demo/topic")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed()  # as workers do
    columns: dict[str, list[str]] = {}
    for dtype in ("fp32", "bf16"):
        told = phases(asked.task, asked.data, dtype)
        found = {phase: (needed, statistics.median(times)) for phase, needed, times in told}
        rate = found["a large product"][0] / found["a large product"][1]
        for phase, (needed, spent) in found.items():
            last = f"{rate / 1e9:.0f} GFLOP/s" if phase == "a large product" else f"{needed / spent / rate:.0%}"
            columns.setdefault(phase, [f"{needed / 1e9:.2f}"]).extend([f"{spent * 1e3:.1f}", last])
    lines = [
        f"<!-- benchmarks/fraction_of_limit.py: nano, LoRA in all blocks, {asked.task}, batches of 16 -->",
        "| phase | GFLOP | float32, CPU-ms | of the limit | bfloat16, CPU-ms | of the limit |",
        "|---" * 6 + "|",
        *(f"| {phase} | {' | '.join(cells)} |" for phase, cells in columns.items()),
    ]
    RESULT.write_text("\n".join(lines) + "\n", encoding="utf8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
