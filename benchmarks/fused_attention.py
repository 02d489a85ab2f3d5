"""Plain products or torch's fused attention: ``python benchmarks/fused_attention.py [--device cuda]``.

One self-attention of the encoder with a position bias, 16 rows of several lengths at nano's sizes and at T5-base's,
forward alone and forth and back: as the engine does it, and by ``scaled_dot_product_attention``. Medians of interleaved
runs, CPU-seconds of one thread, or a GPU's own. Both ways must give the same, up to rounding. Written to
``benchmarks/results/fused_attention.md``.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from autodelta.engine.layers import attended
from autodelta.engine.memory import keep_freed

RESULT = Path(__file__).parent / "results" / "fused_attention.md"
ROWS, ROUNDS = 16, 15
SIZES = {"nano": (6, 32), "T5-base": (12, 64)}  # heads, d_kv
LENGTHS = (20, 50, 90, 128, 200)
NEAR = {torch.float32: 1e-5, torch.bfloat16: 2e-2}


def fused(q: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
    return functional.scaled_dot_product_attention(q, keys, values, attn_mask=bias, scale=1.0)


WAYS: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]] = {"plain": attended, "fused": fused}


def seconds(action: Callable[[], object], device: torch.device) -> float:
    if device.type == "cpu":
        began = time.process_time()
        action()
        return time.process_time() - began
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    action()
    end.record()
    torch.cuda.synchronize(device)
    return float(start.elapsed_time(end)) / 1e3


def compared(name: str, length: int, dtype: torch.dtype, device: torch.device) -> str:
    """A line of the table: milliseconds of each way."""
    heads, d_kv = SIZES[name]
    generator = torch.Generator().manual_seed(0)
    q, keys, values, g = (
        torch.randn(ROWS, heads, length, d_kv, generator=generator).to(device, dtype) / d_kv**0.5 for _ in "qkvg"
    )
    bias = torch.randn(ROWS, heads, length, length, generator=generator).to(device, dtype)

    def forth(way: str) -> Tensor:
        with torch.no_grad():
            return WAYS[way](q, keys, values, bias)

    def there_and_back(way: str) -> None:
        own = [one.detach().requires_grad_() for one in (q, keys, values)]
        WAYS[way](*own, bias).backward(g)

    apart = (forth("plain").double() - forth("fused").double()).norm() / forth("plain").double().norm()
    assert apart < NEAR[dtype], apart
    cells = []
    for action in (forth, there_and_back):
        found: dict[str, list[float]] = {way: [] for way in WAYS}
        for _ in range(ROUNDS):
            for way in WAYS:
                found[way].append(seconds(partial(action, way), device))
        plain, other = (1e3 * statistics.median(found[way][1:]) for way in WAYS)
        cells.append(f"{plain:.2f} | {other:.2f} ({plain / other:.2f}x)")
    return f"| {name} | {ROWS} x {length} | {str(dtype).removeprefix('torch.')} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    device = torch.device(parser.parse_args().device)
    torch.set_num_threads(1)
    keep_freed()  # as workers do
    lines = [
        f"<!-- benchmarks/fused_attention.py --device {device} -->",
        "| sizes | tokens | dtype | forward, plain, ms | fused | forth and back, plain | fused |",
        "|---" * 7 + "|",
        *(compared(name, length, dtype, device) for name in SIZES for dtype in NEAR for length in LENGTHS),
    ]
    RESULT.write_text("\n".join(lines) + "\n", encoding="utf8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
