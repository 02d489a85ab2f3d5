"""What reading the memory costs the decoder: ``python benchmarks/cross_attention.py [--data TASKS --tasks rte,trec]``.

Two tables, medians of interleaved runs on nano, one thread, CPU-seconds. A step and a scoring of deltas in the decoder
alone, with the memory kept, and with its keys and values kept beside it. And one cross-attention forth and back, with
the projections of keys and values applied to the memory, absorbed into query and output (scores are (q W_k) h, values
(p h) W_v), and kept. Written to ``benchmarks/results/cross_attention.md``.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional
from trials import Job, candidate

from autodelta import tasks
from autodelta.backbones import Backbone, load
from autodelta.engine.activations import Activations
from autodelta.engine.encode import batches, encode
from autodelta.engine.evaluate import label_log_likelihoods
from autodelta.engine.forward import Forward
from autodelta.engine.train import Trial

RESULT = Path(__file__).parent / "results" / "cross_attention.md"
STEPS, ROUNDS, SCORED = 12, 15, 256


class MemoriesAlone(Activations):
    """Keeps no keys and values."""

    def _with_products(self, key: object, memory: object, forward: object) -> object:  # type: ignore[override]
        return memory


def seconds(action: Callable[[], object]) -> float:
    began = time.process_time()
    action()
    return time.process_time() - began


def kept(backbone: Backbone, name: str, data: Path | None) -> str:
    task = tasks.load(name, data=data)
    train, whole = encode(backbone, task, "train"), encode(backbone, task, "validation")
    shown = whole.only(whole.by_length()[:: max(1, len(whole) // SCORED)])
    plan = candidate(Job(name, Path(), "nano", ("lora decoder",), 0, STEPS, 16), backbone.shape)
    ways = {"memory": MemoriesAlone(), "keys": Activations()}
    trials = {way: Trial(backbone, plan, seed=0, kept=cache) for way, cache in ways.items()}
    steps: dict[str, list[float]] = {way: [] for way in ways}
    scoring: dict[str, list[float]] = {way: [] for way in ways}
    for batch in islice(batches(train, batch_size=16, seed=0), STEPS):
        for way, trial in trials.items():
            trial.gradients(batch, 16)
            steps[way] += [seconds(lambda: trial.gradients(batch, 16)) for _ in range(3)]  # noqa: B023
    for _ in range(5):
        for way, trial in trials.items():
            one = seconds(lambda: label_log_likelihoods(trial.forward, shown, kept=ways[way]))  # noqa: B023
            scoring[way].append(one)
    step = {way: statistics.median(found) for way, found in steps.items()}
    score = {way: statistics.median(found[1:]) for way, found in scoring.items()}
    return (
        f"| {name} | {step['memory'] * 1e3:.1f} | {step['keys'] * 1e3:.1f} ({step['memory'] / step['keys']:.2f}x) "
        f"| {score['memory'] * 1e3:.0f} | {score['keys'] * 1e3:.0f} ({score['memory'] / score['keys']:.2f}x) |"
    )


def absorbed(forward: Forward, dtype: torch.dtype, length: int, queries: int) -> str:
    """One block's cross-attention: keys and values made, absorbed, and kept."""
    rows, (heads, d_kv, d_model) = 16, (forward.shape.num_heads, forward.shape.d_kv, forward.shape.d_model)
    generator = torch.Generator().manual_seed(0)
    h = torch.randn(rows, length, d_model, generator=generator).to(dtype)
    q = torch.randn(rows, heads, queries, d_kv, generator=generator).to(dtype)
    w_k, w_v = (torch.randn(heads * d_kv, d_model, generator=generator).to(dtype) / d_model**0.5 for _ in "kv")

    def split(x: Tensor) -> Tensor:
        return x.view(rows, length, heads, d_kv).transpose(1, 2)

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return torch.matmul(functional.softmax(torch.matmul(q, k.transpose(2, 3)), dim=-1), v)

    def made(q: Tensor) -> Tensor:
        return attend(q, split(functional.linear(h, w_k)), split(functional.linear(h, w_v)))

    def folded(q: Tensor) -> Tensor:
        wide = torch.matmul(q, w_k.view(heads, d_kv, d_model)).view(rows, heads * queries, d_model)
        seen = torch.matmul(functional.softmax(torch.matmul(wide, h.transpose(1, 2)), dim=-1), h)
        return torch.matmul(seen.view(rows, heads, queries, d_model), w_v.view(heads, d_kv, d_model).transpose(1, 2))

    keys, values = split(functional.linear(h, w_k)), split(functional.linear(h, w_v))
    ways = {"made": made, "folded": folded, "kept": lambda q: attend(q, keys, values)}
    if dtype == torch.float32:
        assert torch.allclose(made(q), folded(q), atol=1e-3)
    found: dict[str, list[float]] = {way: [] for way in ways}

    def there_and_back(way: Callable[[Tensor], Tensor]) -> None:
        for _ in range(5):
            own = q.detach().requires_grad_()
            way(own).sum().backward()

    for _ in range(ROUNDS):
        for name, way in ways.items():
            found[name].append(seconds(lambda: there_and_back(way)) / 5)  # noqa: B023
    cells = " | ".join(f"{statistics.median(found[way][1:]) * 1e3:.2f}" for way in ways)
    return f"| {str(dtype).removeprefix('torch.')} | 16 x {length} | {queries} | {cells} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--tasks", default="demo/topic")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    backbone = load("nano")
    lines = [
        "<!-- benchmarks/cross_attention.py -->",
        "| task | a step, memory kept, CPU-ms | keys, values too | scoring 256 rows, memory kept | keys, values too |",
        "|---" * 5 + "|",
        *(kept(backbone, name, asked.data) for name in asked.tasks.split(",")),
        "",
        "| dtype | memory | queries | keys and values made, CPU-ms | absorbed | kept |",
        "|---" * 6 + "|",
    ]
    forward = Forward(backbone.model)
    for dtype in (torch.float32, torch.bfloat16):
        for length, queries in ((20, 3), (90, 3), (90, 8), (200, 3)):
            lines.append(absorbed(forward, dtype, length, queries))
    RESULT.write_text("\n".join(lines) + "\n", encoding="utf8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
