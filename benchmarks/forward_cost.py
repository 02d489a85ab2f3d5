"""What the lean forward pass saves: ``python benchmarks/forward_cost.py [--data TASKS --tasks trec,rte]``.

Medians of interleaved runs on nano, one thread: a training step through transformers with hooks and through
``engine/forward.py``; scoring a split label by label through transformers and as a tree; both again for deltas in the
decoder alone, where frozen activations are kept. Written to ``benchmarks/results/forward_cost.md``.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from transformers.modeling_outputs import BaseModelOutput
from trials import Job, candidate

from autodelta import tasks
from autodelta.backbones import load
from autodelta.deltas.attached import Attached
from autodelta.engine.activations import Activations
from autodelta.engine.encode import Batch, Encoded, batches, encode, pad, padded
from autodelta.engine.evaluate import label_log_likelihoods
from autodelta.engine.train import Trial

RESULT = Path(__file__).parent / "results" / "forward_cost.md"
STEPS, ROWS, SCORED = 16, 64, 256


def hooked_step(model: Any, batch: Batch) -> None:
    loss = model(input_ids=batch.input_ids, attention_mask=batch.mask, labels=batch.targets, use_cache=False).loss
    loss.backward()


@torch.no_grad()
def hooked_scores(model: Any, encoded: Encoded) -> None:
    """The encoder once a row, the decoder once a row and label."""
    targets = pad(encoded.targets, -100)
    labels, order = len(targets), encoded.by_length()
    shifted = torch.cat([torch.zeros_like(targets[:, :1]), targets[:, :-1].clamp(min=0)], dim=1)
    for start in range(0, len(order), ROWS):
        ids, mask = padded([encoded.inputs[row] for row in order[start : start + ROWS]], encoded.pad)
        memory = model.get_encoder()(input_ids=ids, attention_mask=mask).last_hidden_state
        logits = model(
            encoder_outputs=BaseModelOutput(last_hidden_state=memory.repeat_interleave(labels, dim=0)),
            attention_mask=mask.repeat_interleave(labels, dim=0),
            decoder_input_ids=shifted.repeat(len(ids), 1),
            use_cache=False,
        ).logits
        every = targets.repeat(len(ids), 1)
        functional.cross_entropy(logits.float().flatten(0, 1), every.flatten(), ignore_index=-100, reduction="none")


def seconds(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def row(name: str, data: Path | None, deltas: str) -> str:
    backbone, task = load("nano"), tasks.load(name, data=data)
    train, whole = encode(backbone, task, "train"), encode(backbone, task, "validation")
    shown = whole.only(whole.by_length()[:: max(1, len(whole) // SCORED)])
    job = Job(name, data or Path(), "nano", (deltas,), 0, STEPS, 16)
    trial = Trial(backbone, candidate(job, backbone.shape), seed=0, kept=Activations())
    kept = Activations()
    times: dict[str, list[float]] = {"hooks": [], "lean": [], "by label": [], "tree": []}
    for batch in islice(batches(train, batch_size=16, seed=0), STEPS):
        trial.gradients(batch, 16)  # warms up, and fills what is kept
        times["lean"].append(seconds(lambda batch=batch: trial.gradients(batch, 16)))  # type: ignore[misc]
        with Attached(backbone.model, trial.composition):
            times["hooks"].append(seconds(lambda batch=batch: hooked_step(backbone.model, batch)))  # type: ignore[misc]
    for _ in range(4):
        times["tree"].append(seconds(lambda: label_log_likelihoods(trial.forward, shown, kept=kept)))
        with Attached(backbone.model, trial.composition):
            times["by label"].append(seconds(lambda: hooked_scores(backbone.model, shown)))
    found = {what: statistics.median(measured[1:]) for what, measured in times.items()}
    step, scoring = found["hooks"] / found["lean"], found["by label"] / found["tree"]
    return f"| {name} | {deltas} | {train.lengths.mean():.0f} | {len(task.labels)} | {step:.2f} | {scoring:.2f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--tasks", default="demo/topic")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    lines = [
        "| task | deltas | tokens a row | labels | step, hooks / lean | scoring, by label / tree |",
        "|---" * 6 + "|",
    ]
    for name in asked.tasks.split(","):
        for deltas in ("lora", "full", "lora decoder"):
            lines.append(row(name, asked.data, deltas))
            print(lines[-1], flush=True)
    RESULT.write_text("\n".join(["<!-- benchmarks/forward_cost.py -->", *lines]) + "\n", encoding="utf8")


if __name__ == "__main__":
    main()
