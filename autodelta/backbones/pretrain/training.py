"""The two stages of pretraining: stable, at a constant step size, and anneal, to zero; each can be gone on with.

A constant step size with a late decay (Hu et al. 2024, arXiv 2404.06395) lets one stable run be continued for ever.
"""

import csv
import math
import multiprocessing
import os
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from pydantic import BaseModel
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

from autodelta.backbones.pretrain.corruption import corrupt, stretch_length
from autodelta.backbones.pretrain.format_examples import format_batches
from autodelta.backbones.pretrain.optimiser import Optimiser, average_gradients
from autodelta.backbones.pretrain.plan import SENTINELS, Plan
from autodelta.backbones.pretrain.scale import centre
from autodelta.backbones.pretrain.start import begin, word_company
from autodelta.files import write_whole

SECONDS_BETWEEN_SAVES = 240
STAGES = ("stable", "anneal")


def span_batch(
    tokens: NDArray[np.uint16], rng: np.random.Generator, *, rows: int, plan: Plan, input_length: int | None = None
) -> tuple[Tensor, Tensor]:
    """``rows`` corrupted stretches: inputs (rows, input_length) and targets (rows, target_length)."""
    share = {"corruption_rate": plan.spans.corruption_rate, "mean_span_length": plan.spans.mean_span_length}
    length, _ = stretch_length(input_length or plan.spans.input_length, **share)
    first_sentinel = plan.tokenizer.pieces + SENTINELS - 1
    pairs = [
        corrupt(tokens[start : start + length].astype(np.int64), rng, first_sentinel=first_sentinel, eos=1, **share)
        for start in rng.integers(0, len(tokens) - length, size=rows)
    ]
    return torch.from_numpy(np.stack([x for x, _ in pairs])), torch.from_numpy(np.stack([y for _, y in pairs]))


def _tokens(work: Path, split: str) -> NDArray[np.uint16]:
    return np.memmap(work / f"{split}.tokens", dtype=np.uint16, mode="r")


def build_model(plan: Plan) -> T5ForConditionalGeneration:
    """A T5 of the plan's shape with fresh weights, drawn from the plan's seed."""
    torch.manual_seed(plan.seed)
    shape: dict[str, Any] = dict(plan.shape)
    tokens: dict[str, Any] = {
        "pad_token_id": 0,
        "eos_token_id": 1,
        "decoder_start_token_id": 0,
        "tie_word_embeddings": True,
    }
    config = T5Config(vocab_size=plan.tokenizer.pieces + SENTINELS, dropout_rate=0.0, **tokens, **shape)
    config._attn_implementation = "eager"  # faster than sdpa for short sequences on a CPU
    return T5ForConditionalGeneration(config)


def loss_of(model: T5ForConditionalGeneration, inputs: Tensor, labels: Tensor) -> Tensor:
    """Mean loss, nats a target token; inputs and labels are padded with 0."""
    device = next(model.parameters()).device
    with torch.autocast(device.type, torch.bfloat16):
        out = model(
            input_ids=inputs.to(device),
            attention_mask=inputs.ne(0).long().to(device),
            labels=labels.masked_fill(labels.eq(0), -100).to(device),
            use_cache=False,
        )
    loss: Tensor = out.loss
    return loss


@torch.no_grad()
def held_out_loss(model: T5ForConditionalGeneration, work: Path, plan: Plan) -> float:
    """Mean span-corruption loss, nats a target token, on 16 fixed batches of held-out text."""
    tokens = _tokens(work, "held_out")
    losses = [
        loss_of(model, *span_batch(tokens, np.random.default_rng([plan.seed, 7, n]), rows=32, plan=plan)).item()
        for n in range(16)
    ]
    return sum(losses) / len(losses)


class Progress(BaseModel):
    """How far a stage has come."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0


def save(folder: Path, model: torch.nn.Module, optimiser: Optimiser, progress: Progress) -> None:
    """Writes a checkpoint, file by file; the last one stays whole until the new one is."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {n: p.detach().clone().contiguous() for n, p in model.named_parameters()}
    metadata = {"progress": progress.model_dump_json()}
    for name, tensors in (("weights", weights), ("optimiser", optimiser.state())):
        write_whole(folder / f"{name}.safetensors", partial(save_file, tensors, metadata=metadata))


def restore(folder: Path, model: torch.nn.Module, optimiser: Optimiser) -> Progress:
    """Reads a checkpoint into model and optimiser."""
    model.load_state_dict(load_file(folder / "weights.safetensors"), strict=False)
    optimiser.load_state(load_file(folder / "optimiser.safetensors"))
    with safe_open(folder / "weights.safetensors", "pt") as file:
        return Progress.model_validate_json(file.metadata()["progress"])


def _batches(
    work: Path, plan: Plan, stage: str, step: int, rank: int, processes: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Span corruption and text-to-text examples, drawn step by step; every process draws the same kind."""
    tokens, mixture = _tokens(work, "train"), plan.mixture
    tokenizer = PreTrainedTokenizerFast.from_pretrained(work / "tokenizer")
    examples = format_batches(tokens, tokenizer, rows=mixture.format_rows // processes)
    tokens_a_step = mixture.span_rows // processes * max(mixture.input_lengths)
    number = STAGES.index(stage)
    while True:
        rng = np.random.default_rng([plan.seed, 1, number, step, rank])
        kind = np.random.default_rng([plan.seed, 2, number, step])
        if kind.random() < mixture.format_share:
            yield examples(rng)
        else:
            length = int(kind.choice(mixture.input_lengths))
            yield span_batch(tokens, rng, rows=tokens_a_step // length, plan=plan, input_length=length)
        step += 1


def train(rank: int, processes: int, work: Path, plan: Plan, stage: str, minutes: float) -> None:
    """One process of a stage: goes on from its last checkpoint, for so many minutes or to the stage's end."""
    torch.set_num_threads(1)
    if processes > 1:
        _end_with_parent()
        dist.init_process_group("gloo", init_method=f"file://{work}/rendezvous", rank=rank, world_size=processes)
    model, optimiser, progress = _start(work, plan, stage)
    if _at_end(progress, plan, stage):
        return
    optimiser.hold()
    started = saved = time.monotonic()
    seconds_before, smoothed = progress.seconds, math.nan
    for inputs, labels in _batches(work, plan, stage, progress.step, rank, processes):
        loss = _step(model, optimiser, inputs, labels, scale=_scale(progress.step, plan, stage), processes=processes)
        smoothed = loss if math.isnan(smoothed) else 0.98 * smoothed + 0.02 * loss
        progress.step += 1
        progress.tokens += inputs.numel() * processes
        progress.seconds = seconds_before + time.monotonic() - started
        stop = _agree(_at_end(progress, plan, stage) or time.monotonic() - started > 60 * minutes, processes)
        if rank == 0 and (progress.step % 100 == 0 or stop):
            measured = held_out_loss(model, work, plan) if progress.step % 500 == 0 or stop else None
            _log(work, stage, progress, smoothed, measured)
        if rank == 0 and (stop or time.monotonic() - saved > SECONDS_BETWEEN_SAVES):
            save(work / stage, model, optimiser, progress)
            saved = time.monotonic()
        if stop:
            return


def _end_with_parent() -> None:
    """A process that another started ends when that one does, however it ended."""
    parent = multiprocessing.parent_process()
    if parent is not None:

        def watch() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=watch, daemon=True).start()


def _start(work: Path, plan: Plan, stage: str) -> tuple[T5ForConditionalGeneration, Optimiser, Progress]:
    """The model where the stage left it, or where the stable stage did, or at the weights that it starts from."""
    model: Any = build_model(plan)
    model.to("cuda" if torch.cuda.is_available() else "cpu").train()
    optimiser = Optimiser(model, plan.stable)
    if (work / stage / "weights.safetensors").exists():
        return model, optimiser, restore(work / stage, model, optimiser)
    if stage == "anneal":
        restore(work / "stable", model, optimiser)
    else:
        pieces = plan.tokenizer.pieces + SENTINELS
        company = word_company(_tokens(work, "train"), pieces, model.config.d_model, plan.start)
        begin(model, torch.from_numpy(company), plan.seed)
    return model, optimiser, Progress()


def _at_end(progress: Progress, plan: Plan, stage: str) -> bool:
    """Whether the stage has no more steps; the stable one goes on for ever."""
    return stage == "anneal" and progress.step >= plan.anneal.steps


def _scale(step: int, plan: Plan, stage: str) -> float:
    """Share of the full step size."""
    if stage == "stable":
        return min(1.0, (step + 1) / plan.stable.warmup_steps)
    return 1.0 - step / plan.anneal.steps


def _step(model: Any, optimiser: Optimiser, inputs: Tensor, labels: Tensor, *, scale: float, processes: int) -> float:
    loss = loss_of(model, inputs, labels)
    value = loss.item()
    if not math.isfinite(value):
        raise SystemExit(f"the loss is {value}; lower the learning rates")
    torch.autograd.backward(loss)
    if processes > 1:
        average_gradients(model, processes)
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    centre(model.shared.weight)
    optimiser.step(scale)
    model.zero_grad(set_to_none=True)
    return value


def _agree(stop: bool, processes: int) -> bool:
    """Whether any process wants to stop: clocks differ, and all must leave at the same step."""
    if processes == 1:
        return stop
    vote = torch.tensor(float(stop))
    dist.all_reduce(vote)
    return vote.item() > 0


def _log(work: Path, stage: str, progress: Progress, train_loss: float, held_out: float | None) -> None:
    path = work / "curve.csv"
    new = not path.exists()
    with path.open("a", newline="", encoding="utf8") as out:
        writer = csv.writer(out)
        if new:
            writer.writerow(["stage", "step", "tokens", "seconds", "train_loss", "held_out_loss"])
        row = [stage, progress.step, progress.tokens, f"{progress.seconds:.0f}", f"{train_loss:.4f}"]
        writer.writerow([*row, "" if held_out is None else f"{held_out:.4f}"])
    print(*row, "" if held_out is None else f"held out {held_out:.4f}", flush=True)
