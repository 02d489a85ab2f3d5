"""Span-corruption loss on held-out text by input length.

    python benchmarks/held_out_by_length.py --work DIR T5 [T5 ...]

``--work`` is the folder that ``python -m autodelta.backbones.pretrain prepare`` left; each T5 a bundled name or a
folder. Written to ``benchmarks/results/held_out_by_length.md``. Nats a target token, sentinels among them: at 16 tokens
they are half of the target, so lengths are compared down a column, not along a row.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from transformers import T5ForConditionalGeneration

from autodelta.backbones.loading import BUNDLED
from autodelta.backbones.pretrain.plan import load_plan
from autodelta.backbones.pretrain.training import loss_of, span_batch

LENGTHS, BATCHES, TOKENS = (16, 32, 64, 128), 12, 4096
RESULT = Path(__file__).parent / "results" / "held_out_by_length.md"


@torch.no_grad()
def loss(model: T5ForConditionalGeneration, work: Path, length: int) -> float:
    """The mean over some batches, the same for every model."""
    plan = load_plan(BUNDLED / "nano" / "pretrain.yaml")
    tokens = np.memmap(work / "held_out.tokens", dtype=np.uint16, mode="r")
    losses = []
    for number in range(BATCHES):
        rng = np.random.default_rng([1, length, number])
        batch = span_batch(tokens, rng, rows=TOKENS // length, plan=plan, input_length=length)
        losses.append(loss_of(model, *batch).item())
    return float(np.mean(losses))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("models", nargs="+")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    rows = [f"| input tokens | {' | '.join(map(str, LENGTHS))} |", "|---" * (len(LENGTHS) + 1) + "|"]
    for name in asked.models:
        folder = BUNDLED / name if (BUNDLED / name).is_dir() else Path(name)
        model = T5ForConditionalGeneration.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
        found = [loss(model.eval(), asked.work, length) for length in LENGTHS]
        rows.append(f"| {folder.name} | {' | '.join(f'{value:.2f}' for value in found)} |")
    RESULT.write_text("\n".join(["<!-- benchmarks/held_out_by_length.py -->", *rows]) + "\n", encoding="utf8")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
