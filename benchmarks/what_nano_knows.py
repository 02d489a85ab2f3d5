"""What a pretrained backbone's layers hold of a text, how large they write it, and what fine-tuning makes of it.

    python benchmarks/what_nano_knows.py --data DIR [--backbone nano --backbone FOLDER --backbone random] [--work DIR]

Tables, those about tasks on validation rows. Logistic regression on the mean over a text's tokens: after the embeddings
and after each encoder block; with ``--work``, a folder of `python -m autodelta.backbones.pretrain prepare`, also for
the embeddings that pretraining starts from. The root mean square of what stands in the residual stream after each
block, and the range of the encoder's position biases. With ``--work``, how many of pretraining's own questions about
held-out text it answers with the right first token. Accuracy after full fine-tuning at 1e-3, 300 steps of 16, seed 0.
"""

import argparse
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from trials import Job, run

from autodelta import backbones, tasks
from autodelta.backbones import load

TASKS = ("mr", "sst2", "subj", "emotion", "trec", "qqp")
REGULARISATION = (0.01, 0.1)
ROWS = 64
QUESTIONS = 512  # of each kind
Floats = NDArray[np.float32]


def texts(name: str, split: str, data: Path) -> tuple[list[str], list[str]]:
    """The fields of each row, one after the other without the words of a template, and the labels."""
    rows = tasks.load(name, data=data).rows[split]
    return [" ".join(row.fields) for row in rows], [row.label for row in rows]


def pooled(model: Any, tokenizer: Any, rows: list[str]) -> list[Floats]:
    """By depth, from the embeddings on: means over tokens, shape (rows, d_model)."""
    found = []
    for start in range(0, len(rows), ROWS):
        batch = tokenizer(
            rows[start : start + ROWS], padding=True, truncation=True, max_length=128, return_tensors="pt"
        )
        mask = batch["attention_mask"]
        with torch.no_grad():
            hidden = model.encoder(
                input_ids=batch["input_ids"], attention_mask=mask, output_hidden_states=True
            ).hidden_states
        weight = (mask / mask.sum(1, keepdim=True))[..., None]
        found.append([(layer * weight).sum(1).numpy() for layer in hidden])
    return [np.concatenate(layer) for layer in zip(*found, strict=True)]


def regression(train: Floats, gold: list[str], rows: Floats, labels: list[str]) -> float:
    """Accuracy of the better of two strengths of regularisation."""
    models = (make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=300)) for c in REGULARISATION)
    return max(float(model.fit(train, gold).score(rows, labels)) for model in models)


def sizes(model: Any, tokenizer: Any, rows: list[str]) -> list[float]:
    """Root mean square of the residual stream after each block but the last, whose output is normed."""
    batch = tokenizer(rows[:ROWS], padding=True, truncation=True, max_length=128, return_tensors="pt")
    with torch.no_grad():
        hidden = model.encoder(**batch, output_hidden_states=True).hidden_states
    kept = batch["attention_mask"].bool()
    return [round(layer[kept].square().mean().sqrt().item(), 1) for layer in hidden[:-1]]


def biases(model: Any) -> str:
    """The range of the encoder's position biases."""
    weight = model.encoder.block[0].layer[0].SelfAttention.relative_attention_bias.weight.detach()
    return f"{weight.min().item():.1f} to {weight.max().item():.1f}"


def answered(model: Any, tokenizer: Any, work: Path) -> dict[str, float]:
    """By kind of question, the share of right first tokens; questions are the same for every backbone."""
    from autodelta.backbones.pretrain.format_examples import SHARES
    from autodelta.backbones.pretrain.passages import Passages

    passages = Passages(np.fromfile(work / "held_out.tokens", dtype=np.uint16), tokenizer)
    found = {}
    for maker in SHARES:
        rng = np.random.default_rng(0)
        questions, answers = zip(*(maker(rng, passages) for _ in range(QUESTIONS)), strict=True)
        right = 0
        for at in range(0, QUESTIONS, ROWS):
            batch = tokenizer(list(questions[at : at + ROWS]), padding=True, return_tensors="pt")
            start = torch.full((len(batch["input_ids"]), 1), model.config.decoder_start_token_id)
            with torch.no_grad():
                said = model(**batch, decoder_input_ids=start).logits[:, 0].argmax(dim=-1)
            wanted = [ids[0] for ids in tokenizer(list(answers[at : at + ROWS]))["input_ids"]]
            right += int(said.eq(torch.tensor(wanted)).sum())
        found[maker.__name__] = right / QUESTIONS
    return found


def start_of(work: Path, like: Any) -> Any:
    """A copy of the backbone's module with the embeddings that pretraining starts from."""
    from autodelta.backbones.pretrain.plan import load_plan
    from autodelta.backbones.pretrain.start import word_company

    plan = load_plan(Path(backbones.__file__).parent / "nano" / "pretrain.yaml")
    tokens = np.memmap(work / "train.tokens", dtype=np.uint16, mode="r")
    width = like.config.d_model
    company = torch.from_numpy(word_company(tokens, like.config.vocab_size, width, plan.start)).nan_to_num()
    fresh = type(like)(like.config).eval()
    with torch.no_grad():
        fresh.shared.weight.copy_(company)
    return fresh


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder of labelled tasks")
    parser.add_argument("--backbone", action="append", help="nano, random, or a folder")
    parser.add_argument("--work", type=Path, help="an encoded corpus, for the start's embeddings")
    parser.add_argument("--no-fine-tuning", action="store_true")
    arguments = parser.parse_args()
    names = arguments.backbone or ["nano"]
    rows = {name: [texts(name, split, arguments.data) for split in ("train", "validation")] for name in TASKS}
    models = {name: load(name, dtype="fp32") for name in names if name != "random"}
    probed = {name: backbone.model for name, backbone in models.items()}
    any_backbone = load("nano", dtype="fp32")
    if arguments.work:
        probed["start"] = start_of(arguments.work, any_backbone.model)
    print("| backbone | task | embeddings, then after each block |\n|---|---|---|")
    for name, model in probed.items():
        for task, ((train, gold), (scored, labels)) in rows.items():
            layers = zip(*(pooled(model, any_backbone.tokenizer, side) for side in (train, scored)), strict=True)
            found = [regression(a, gold, b, labels) for a, b in layers][: 1 if name == "start" else None]
            print(f"| {Path(name).name} | {task} | {' '.join(f'{value:.3f}' for value in found)} |", flush=True)
    print("\n| backbone | size of the residual stream | position biases |\n|---|---|---|")
    for name, backbone in models.items():
        shown = " ".join(map(str, sizes(backbone.model, backbone.tokenizer, rows["mr"][1][0])))
        print(f"| {Path(name).name} | {shown} | {biases(backbone.model)} |")
    if arguments.work:
        right = {name: answered(b.model, b.tokenizer, arguments.work) for name, b in models.items()}
        print(
            "\n| question | "
            + " | ".join(Path(name).name for name in models)
            + " |\n"
            + "|---" * (len(models) + 1)
            + "|"
        )
        for kind in next(iter(right.values()), {}):
            print(f"| {kind} | " + " | ".join(f"{found[kind]:.3f}" for found in right.values()) + " |")
    if not arguments.no_fine_tuning:
        print("\n| backbone | " + " | ".join(TASKS) + " | mean |\n" + "|---" * (len(TASKS) + 2) + "|")
        for name in names:
            jobs = [Job(task, arguments.data, name, ("full",), 0, 300, 16, split="validation") for task in TASKS]
            scores = [run(job)["accuracy"] for job in jobs]
            print(f"| {Path(name).name} | {' | '.join(f'{s:.3f}' for s in [*scores, mean(scores)])} |", flush=True)


if __name__ == "__main__":
    main()
