"""Pretrains the bundled backbones from a text file.

Four steps, each a command, each going on from the files that the former one left in ``--work``: ``prepare`` fits the
vocabulary and encodes the text, ``stable`` trains on span corruption (Raffel et al. 2020, arXiv 1910.10683) at a
constant step size for as long as it is given, ``anneal`` mixes in text-to-text examples while the step size falls to
zero, ``export`` writes the checkpoint, at T5's scales and in bf16, with the facts of its training.
"""

import json
import math
from pathlib import Path
from typing import Annotated, Any

import typer
from torch.multiprocessing.spawn import spawn
from transformers import PreTrainedTokenizerFast

from autodelta.backbones.pretrain.card import card
from autodelta.backbones.pretrain.optimiser import Optimiser
from autodelta.backbones.pretrain.plan import load_plan
from autodelta.backbones.pretrain.scale import to_t5_scale
from autodelta.backbones.pretrain.training import build_model, held_out_loss, restore, train
from autodelta.files import sha256

app = typer.Typer(add_completion=False, help=__doc__, no_args_is_help=True)
PlanFile = Annotated[Path, typer.Option("--plan", exists=True, help="the backbone's pretrain.yaml")]
Work = Annotated[Path, typer.Option("--work", help="where tokens, checkpoints and the curve are kept")]


@app.command()
def prepare(plan: PlanFile, work: Work, text: Annotated[Path, typer.Option("--text", exists=True)]) -> None:
    """Fit the vocabulary on the text and encode it."""
    from autodelta.backbones.pretrain.text import encode_corpus, fit_tokenizer

    work.mkdir(parents=True, exist_ok=True)
    tokenizer = fit_tokenizer(text, load_plan(plan).tokenizer, work)
    tokenizer.save_pretrained(work / "tokenizer")
    encode_corpus(text, tokenizer, work)


def _launch(plan: Path, work: Path, stage: str, processes: int, minutes: float) -> None:
    (work / "rendezvous").unlink(missing_ok=True)
    arguments = (processes, work, load_plan(plan), stage, minutes)
    if processes == 1:
        train(0, *arguments)
    else:
        spawn(train, args=arguments, nprocs=processes)


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
    facts: dict[str, Any] = {
        "held_out_loss": round(held_out_loss(model, work, settings), 4),
        stage: progress.model_dump(),
    }
    if stage != "stable":
        facts["stable"] = restore(
            work / "stable", build_model(settings), Optimiser(model, settings.stable)
        ).model_dump()
    to_t5_scale(model)
    model.bfloat16().save_pretrained(to)
    PreTrainedTokenizerFast.from_pretrained(work / "tokenizer").save_pretrained(to)
    facts["sha256"] = sha256(to / "model.safetensors")
    (to / "training.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf8")
    (to / "README.md").write_text(card(settings, facts, parameters=model.num_parameters()), encoding="utf8")
    (to / "curve.csv").write_bytes((work / "curve.csv").read_bytes())


if __name__ == "__main__":
    app()
