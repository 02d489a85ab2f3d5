"""Pretrains the bundled backbones from a text file: ``python -m autodelta.backbones.pretrain --help``.

Four steps, each a command, each resumable from the files the former one left in ``--work``:
``prepare`` fits the vocabulary and encodes the text, ``stable`` trains on span corruption at a constant step
size for as long as it is given, ``anneal`` mixes in text-to-text examples while the step size falls to zero,
``export`` writes the checkpoint, in bf16, with its model card's facts.

Sources: span corruption, Raffel et al. 2020 (arXiv 1910.10683); hidden matrices by Muon, Jordan et al. 2024, with the
update scale of Liu et al. 2025 (arXiv 2502.16982); all else by Adam scaled by each tensor's RMS, as Adafactor does
(Shazeer and Stern 2018, arXiv 1804.04235): T5's embeddings have a standard deviation of 1, and unscaled steps stall on
them. A constant step size with a late decay (Hu et al. 2024, arXiv 2404.06395) lets one stable run be continued.
"""

import csv
import hashlib
import json
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import torch.distributed as dist
import typer
import yaml
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

from autodelta.backbones.corruption import corrupt, stretch_length
from autodelta.backbones.format_examples import format_batches

HELD_OUT_SHARE = 0.01
SENTINELS = 100


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TokenizerPlan(_Section):
    pieces: int
    sample_bytes: int


class Spans(_Section):
    input_length: int
    corruption_rate: float
    mean_span_length: float


class Stable(_Section):
    batch_size: int
    warmup_steps: int
    matrix_lr: float
    vector_lr: float


class Anneal(_Section):
    steps: int
    format_share: float
    format_batch_size: int


class Plan(_Section):
    """One backbone's pretraining, as its ``pretrain.yaml`` states it."""

    seed: int
    tokenizer: TokenizerPlan
    shape: dict[str, int | str]
    spans: Spans
    stable: Stable
    anneal: Anneal


def load_plan(path: Path) -> Plan:
    return Plan.model_validate(yaml.safe_load(path.read_text(encoding="utf8")))


# --- prepare ---------------------------------------------------------------------------------------------------------


def fit_tokenizer(text: Path, plan: TokenizerPlan, work: Path) -> PreTrainedTokenizerFast:
    """A lower-cased unigram vocabulary with single digits and T5's 100 sentinels, in the layout of T5's own."""
    import sentencepiece
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    sample = work / "sample.txt"
    with text.open(encoding="utf8") as source, sample.open("w", encoding="utf8") as out:
        out.write(source.read(plan.sample_bytes))
    sentencepiece.SentencePieceTrainer.train(
        input=str(sample),
        model_prefix=str(work / "unigram"),
        vocab_size=plan.pieces,
        model_type="unigram",
        normalization_rule_name="nmt_nfkc_cf",
        split_digits=True,
        character_coverage=0.9998,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        max_sentence_length=8192,
        num_threads=1,
    )
    rows = [line.rstrip("\n").split("\t") for line in (work / "unigram.vocab").open(encoding="utf8")]
    pieces = [(piece, float(score)) for piece, score in rows]
    pieces += [(f"<extra_id_{n}>", 0.0) for n in reversed(range(SENTINELS))]
    core = Tokenizer(models.Unigram(pieces, unk_id=2, byte_fallback=False))
    core.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")]
    )
    core.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    core.post_processor = processors.TemplateProcessing(
        single=["$A", "</s>"], pair=["$A", "</s>", "$B", "</s>"], special_tokens=[("</s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=[f"<extra_id_{n}>" for n in range(SENTINELS)],
    )


def encode_corpus(text: Path, tokenizer: PreTrainedTokenizerFast, work: Path) -> None:
    """Tokens of all documents, each closed by ``</s>``; the last documents are held out."""
    documents = text.read_text(encoding="utf8").split("\n\n")
    held_out = max(1, round(len(documents) * HELD_OUT_SHARE))
    for name, part in (("train", documents[:-held_out]), ("held_out", documents[-held_out:])):
        with (work / f"{name}.tokens").open("wb") as out:
            for start in range(0, len(part), 512):
                for ids in tokenizer(part[start : start + 512])["input_ids"]:
                    out.write(np.asarray(ids, dtype=np.uint16).tobytes())


# --- batches ---------------------------------------------------------------------------------------------------------


def span_batch(tokens: NDArray[np.uint16], rng: np.random.Generator, *, rows: int, plan: Plan) -> tuple[Tensor, Tensor]:
    """``rows`` corrupted stretches: inputs (rows, input_length) and targets (rows, target_length)."""
    share = {"corruption_rate": plan.spans.corruption_rate, "mean_span_length": plan.spans.mean_span_length}
    length, _ = stretch_length(plan.spans.input_length, **share)
    first_sentinel = plan.tokenizer.pieces + SENTINELS - 1
    pairs = [
        corrupt(tokens[start : start + length].astype(np.int64), rng, first_sentinel=first_sentinel, eos=1, **share)
        for start in rng.integers(0, len(tokens) - length, size=rows)
    ]
    return torch.from_numpy(np.stack([x for x, _ in pairs])), torch.from_numpy(np.stack([y for _, y in pairs]))


def _tokens(work: Path, split: str) -> NDArray[np.uint16]:
    return np.memmap(work / f"{split}.tokens", dtype=np.uint16, mode="r")


# --- optimisation ----------------------------------------------------------------------------------------------------


class Optimiser:
    """Muon on the hidden matrices, RMS-scaled Adam on embeddings, norms and position biases."""

    def __init__(self, model: T5ForConditionalGeneration, stable: Stable) -> None:
        hidden = {n: p for n, p in model.named_parameters() if p.ndim == 2 and ".block." in n and "bias" not in n}
        rest = {n: p for n, p in model.named_parameters() if n not in hidden}
        d_kv = model.config.d_kv
        # T5 folds attention's 1/sqrt(d_kv) into the query projection, so its steps shrink by the same factor.
        groups = [
            {"params": [(n, p)], "lr": stable.matrix_lr * (d_kv**-0.5 if ".q." in n else 1.0)}
            for n, p in hidden.items()
        ]
        self.names = {p: n for n, p in model.named_parameters()}
        self.matrices = torch.optim.Muon(groups, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
        self.vectors = torch.optim.AdamW(
            [{"params": [p]} for p in rest.values()], lr=stable.vector_lr, betas=(0.9, 0.98), weight_decay=0.0
        )
        self.base = [g["lr"] for g in self.matrices.param_groups]
        self.vector_lr = stable.vector_lr

    def step(self, scale: float) -> None:
        for group, base in zip(self.matrices.param_groups, self.base, strict=True):
            group["lr"] = base * scale
        for group in self.vectors.param_groups:
            rms = group["params"][0].detach().square().mean().sqrt().item()
            group["lr"] = self.vector_lr * scale * max(rms, 1e-3)
        self.matrices.step()
        self.vectors.step()

    def state(self) -> dict[str, Tensor]:
        return {
            f"{self.names[p]}|{key}": torch.as_tensor(value).clone()
            for part in (self.matrices, self.vectors)
            for p, entries in part.state.items()
            for key, value in entries.items()
        }

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        for part in (self.matrices, self.vectors):
            for group in part.param_groups:
                for p in group["params"]:
                    prefix = f"{self.names[p]}|"
                    part.state[p] = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def average_gradients(model: torch.nn.Module, processes: int) -> None:
    """Mean gradient over processes, in one message."""
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    flat = torch.cat([g.reshape(-1) for g in gradients])
    dist.all_reduce(flat)
    flat /= processes
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


# --- training --------------------------------------------------------------------------------------------------------


def build_model(plan: Plan) -> T5ForConditionalGeneration:
    torch.manual_seed(plan.seed)
    shape: dict[str, Any] = dict(plan.shape)
    config = T5Config(
        vocab_size=plan.tokenizer.pieces + SENTINELS,
        dropout_rate=0.0,
        pad_token_id=0,
        eos_token_id=1,
        decoder_start_token_id=0,
        tie_word_embeddings=True,
        **shape,
    )
    config._attn_implementation = "eager"  # faster than sdpa for short sequences on a CPU
    return T5ForConditionalGeneration(config)


def loss_of(model: T5ForConditionalGeneration, inputs: Tensor, labels: Tensor) -> Tensor:
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
    folder.mkdir(parents=True, exist_ok=True)
    weights = {n: p.detach().clone().contiguous() for n, p in model.named_parameters()}
    metadata = {"progress": progress.model_dump_json()}
    for name, tensors in (("weights", weights), ("optimiser", optimiser.state())):
        save_file(tensors, folder / f"{name}.tmp", metadata=metadata)
    for name in ("weights", "optimiser"):
        os.replace(folder / f"{name}.tmp", folder / f"{name}.safetensors")


def restore(folder: Path, model: torch.nn.Module, optimiser: Optimiser) -> Progress:
    from safetensors import safe_open

    model.load_state_dict(load_file(folder / "weights.safetensors"), strict=False)
    optimiser.load_state(load_file(folder / "optimiser.safetensors"))
    with safe_open(folder / "weights.safetensors", "pt") as file:
        return Progress.model_validate_json(file.metadata()["progress"])


def _stable_batches(work: Path, plan: Plan, step: int, rank: int, processes: int) -> Iterator[tuple[Tensor, Tensor]]:
    tokens = _tokens(work, "train")
    while True:
        rng = np.random.default_rng([plan.seed, 1, step, rank])
        yield span_batch(tokens, rng, rows=plan.stable.batch_size // processes, plan=plan)
        step += 1


def _anneal_batches(work: Path, plan: Plan, step: int, rank: int, processes: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Span corruption and text-to-text examples, drawn step by step; every process draws the same kind."""
    tokens = _tokens(work, "train")
    tokenizer = PreTrainedTokenizerFast.from_pretrained(work / "tokenizer")
    examples = format_batches(tokens, tokenizer, rows=plan.anneal.format_batch_size // processes)
    while True:
        rng = np.random.default_rng([plan.seed, 2, step, rank])
        kind = np.random.default_rng([plan.seed, 3, step]).random()
        if kind < plan.anneal.format_share:
            yield examples(rng)
        else:
            yield span_batch(tokens, rng, rows=plan.stable.batch_size // processes, plan=plan)
        step += 1


def _train(rank: int, processes: int, work: Path, plan: Plan, stage: str, minutes: float) -> None:
    torch.set_num_threads(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if processes > 1:
        dist.init_process_group("gloo", init_method=f"file://{work}/rendezvous", rank=rank, world_size=processes)
    model = build_model(plan).to(device).train()
    optimiser = Optimiser(model, plan.stable)
    own, before = work / stage, work / "stable"
    progress = Progress()
    if (own / "weights.safetensors").exists():
        progress = restore(own, model, optimiser)
    elif stage == "anneal":
        restore(before, model, optimiser)
    batches = (_stable_batches if stage == "stable" else _anneal_batches)(work, plan, progress.step, rank, processes)
    started = saved = time.monotonic()
    done_seconds = progress.seconds
    running = 0.0
    while True:
        scale = (
            min(1.0, (progress.step + 1) / plan.stable.warmup_steps)
            if stage == "stable"
            else 1.0 - progress.step / plan.anneal.steps
        )
        inputs, labels = next(batches)
        loss = loss_of(model, inputs, labels)
        loss.backward()
        if processes > 1:
            average_gradients(model, processes)
        torch.nn.utils.clip_grad_norm_(optimiser.names, 1.0)
        optimiser.step(scale)
        model.zero_grad(set_to_none=True)
        running = loss.item() if not running else 0.98 * running + 0.02 * loss.item()
        if not math.isfinite(running):
            raise SystemExit(f"the loss is {running} at step {progress.step}")
        progress.step += 1
        progress.tokens += inputs.numel() * processes
        progress.seconds = done_seconds + time.monotonic() - started
        stop = _agree(
            time.monotonic() - started > 60 * minutes or (stage == "anneal" and progress.step >= plan.anneal.steps),
            processes,
        )
        if rank == 0 and (progress.step % 100 == 0 or stop):
            _log(work, stage, progress, running, held_out_loss(model, work, plan) if progress.step % 500 == 0 or stop else None)
        if rank == 0 and (stop or time.monotonic() - saved > 240):
            save(own, model, optimiser, progress)
            saved = time.monotonic()
        if stop:
            return


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


# --- commands --------------------------------------------------------------------------------------------------------

app = typer.Typer(add_completion=False, help=__doc__, no_args_is_help=True)
PlanFile = Annotated[Path, typer.Option("--plan", exists=True, help="the backbone's pretrain.yaml")]
Work = Annotated[Path, typer.Option("--work", help="where tokens, checkpoints and the curve are kept")]


@app.command()
def prepare(plan: PlanFile, work: Work, text: Annotated[Path, typer.Option("--text", exists=True)]) -> None:
    """Fit the vocabulary on the text and encode it."""
    work.mkdir(parents=True, exist_ok=True)
    tokenizer = fit_tokenizer(text, load_plan(plan).tokenizer, work)
    tokenizer.save_pretrained(work / "tokenizer")
    encode_corpus(text, tokenizer, work)


def _launch(plan: Path, work: Path, stage: str, processes: int, minutes: float) -> None:
    (work / "rendezvous").unlink(missing_ok=True)
    arguments = (processes, work, load_plan(plan), stage, minutes)
    if processes == 1:
        _train(0, *arguments)
    else:
        torch.multiprocessing.spawn(_train, args=arguments, nprocs=processes)


@app.command()
def stable(
    plan: PlanFile, work: Work, minutes: Annotated[float, typer.Option("--minutes")], processes: int = 1
) -> None:
    """Train, or go on training, at a constant step size for so many minutes."""
    _launch(plan, work, "stable", processes, minutes)


@app.command()
def anneal(plan: PlanFile, work: Work, processes: int = 1, minutes: float = math.inf) -> None:
    """Bring the step size to zero, from the last stable checkpoint."""
    _launch(plan, work, "anneal", processes, minutes)


@app.command()
def export(plan: PlanFile, work: Work, to: Annotated[Path, typer.Option("--to")], stage: str = "anneal") -> None:
    """Write a stage's checkpoint as a bf16 Hugging Face folder, with the facts of its training."""
    settings = load_plan(plan)
    model = build_model(settings)
    progress = restore(work / stage, model, Optimiser(model, settings.stable))
    facts: dict[str, Any] = {"held_out_loss": round(held_out_loss(model, work, settings), 4), stage: progress.model_dump()}
    if stage != "stable":
        facts["stable"] = restore(work / "stable", build_model(settings), Optimiser(model, settings.stable)).model_dump()
    model.to(torch.bfloat16).save_pretrained(to)
    PreTrainedTokenizerFast.from_pretrained(work / "tokenizer").save_pretrained(to)
    facts["sha256"] = hashlib.sha256((to / "model.safetensors").read_bytes()).hexdigest()
    (to / "training.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf8")
    (to / "curve.csv").write_bytes((work / "curve.csv").read_bytes())


if __name__ == "__main__":
    app()
