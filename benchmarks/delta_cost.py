"""What deltas cost in time: a forward pass, and a training step, of each method beside the bare backbone.

`python benchmarks/delta_cost.py [--dtype bf16]`; medians of interleaved runs on one thread, so that other load on the
machine meets all alike. The backbone has random weights, the shape of a small T5 and rows of 16 x 48 tokens.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import T5Config, T5ForConditionalGeneration

from autodelta.candidate import Candidate, Delta, Training
from autodelta.deltas.attached import attach
from autodelta.deltas.spec import specs
from autodelta.shape import BackboneShape

ROUNDS = 15


def backbone(dtype: torch.dtype) -> Any:
    config = T5Config(
        vocab_size=8192,
        d_model=256,
        d_kv=32,
        d_ff=1024,
        num_layers=4,
        num_decoder_layers=4,
        num_heads=8,
        decoder_start_token_id=0,
    )
    torch.manual_seed(0)
    return T5ForConditionalGeneration(config).eval().requires_grad_(False).to(dtype)


def rows() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(2, 8192, (16, 48), generator=generator)
    mask = (torch.arange(48) < torch.randint(20, 49, (16, 1), generator=generator)).long()
    return {"input_ids": ids * mask, "attention_mask": mask, "labels": ids[:, :4].contiguous()}


def seconds(action: Callable[[], object]) -> float:
    start = time.process_time()
    action()
    return time.process_time() - start


def candidate(method: str) -> Candidate:
    spec = specs()[method]
    delta = Delta(method=method, roles=spec.usual, config=spec.config(), learning_rate=1e-3)
    return Candidate(deltas=(delta,), training=Training(steps=1, batch_size=1))


def measure(dtype: torch.dtype) -> None:
    model, given = backbone(dtype), rows()
    shape = BackboneShape.of(model)

    def forward() -> None:
        with torch.no_grad():
            model(**given)

    def step() -> None:
        model(**given).loss.backward()

    times: dict[tuple[str, str], list[float]] = {}
    for _ in range(ROUNDS):
        times.setdefault(("bare", "forward"), []).append(seconds(forward))
        for method in specs():
            with attach(model, candidate(method)):
                times.setdefault((method, "forward"), []).append(seconds(forward))
                times.setdefault((method, "step"), []).append(seconds(step))
    bare = statistics.median(times["bare", "forward"])
    print(f"bare forward {bare * 1e3:.1f} ms")
    print("| method | sites | parameters | forward, ms more | forward, x | step, x a bare forward |")
    print("| --- | --- | --- | --- | --- | --- |")
    for method in specs():
        sites = len(candidate(method).deltas[0].sites(shape))
        count = candidate(method).count_parameters(shape)
        ahead, whole = (statistics.median(times[method, kind]) for kind in ("forward", "step"))
        print(
            f"| {method} | {sites} | {count:,} | {(ahead - bare) * 1e3:.1f} | {ahead / bare:.2f} | {whole / bare:.2f} |"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dtype", choices=("fp32", "bf16"), default="fp32")
    torch.set_num_threads(1)
    measure({"fp32": torch.float32, "bf16": torch.bfloat16}[parser.parse_args().dtype])
