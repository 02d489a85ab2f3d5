"""One trial outside a search, for the scripts of this folder: train on train, score once, one line of a CSV."""

import csv
import multiprocessing
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

from autodelta.candidate import Candidate
from autodelta.deltas.spec import spec
from autodelta.shape import BackboneShape

ATTENTIONS = ("encoder.self_attn", "decoder.self_attn", "decoder.cross_attn")
ATTENTION = [f"{attention}.{projection}" for attention in ATTENTIONS for projection in "qkvo"]
ALL_LINEAR = [
    *ATTENTION,
    *(f"{stack}.ffn.{part}" for stack in ("encoder", "decoder") for part in ("in", "gate", "out")),
]
SUBLAYERS = ["encoder.self_attn", "encoder.ffn", "decoder.self_attn", "decoder.cross_attn", "decoder.ffn"]

# Equal for all tasks. Where rates matter to what is claimed, a script tunes them on validation (pretraining_helps.py).
DELTAS: dict[str, dict[str, Any]] = {
    "full": {"method": "full", "learning_rate": 1e-3},
    "lora": {"method": "lora", "roles": ALL_LINEAR, "config": {"rank": 8, "alpha": 16}, "learning_rate": 1e-3},
    "lora decoder": {
        "method": "lora",
        "roles": [role for role in ALL_LINEAR if role.startswith("decoder")],
        "config": {"rank": 4, "alpha": 16},
        "learning_rate": 1e-3,
    },
    "adapter": {"method": "adapter", "roles": SUBLAYERS, "config": {"bottleneck": 24}, "learning_rate": 1e-3},
    "bitfit": {"method": "bitfit", "roles": ALL_LINEAR, "learning_rate": 1e-2},
    "prompt": {"method": "prompt", "roles": ["encoder.embeddings"], "config": {"length": 20}, "learning_rate": 0.1},
}
RATES = {  # that are tried
    "full": (1e-4, 3e-4, 6e-4, 1e-3, 3e-3),
    "lora": (3e-4, 1e-3, 3e-3, 1e-2),
    "adapter": (1e-3, 3e-3, 1e-2),
    "bitfit": (3e-3, 1e-2, 3e-2),
    "prompt": (3e-2, 1e-1, 3e-1),
}
Cell = tuple[str, str]  # weights, and a name in DELTAS


class Job(NamedTuple):
    """What one process is to do."""

    task: str
    data: Path
    weights: str  # random: of nano's shape, drawn at the seed; else what `backbones.load` takes: nano, a folder
    deltas: tuple[str, ...]  # names in DELTAS
    seed: int
    steps: int
    batch_size: int
    learning_rate: float | None = None  # of all its deltas; None: what DELTAS says
    split: str = "test"  # that is scored

    @property
    def key(self) -> tuple[str, ...]:
        """What a line of a CSV is told from others by."""
        rate = "" if self.learning_rate is None else str(self.learning_rate)
        return self.task, self.weights, "+".join(self.deltas), str(self.seed), rate


def candidate(job: Job, shape: BackboneShape) -> Candidate:
    """The candidate that a job names; roles that the backbone lacks are left out."""
    kinds = shape.kinds()
    deltas = []
    for name in job.deltas:
        delta = {**DELTAS[name]}
        if job.learning_rate is not None:
            delta["learning_rate"] = job.learning_rate
        roles = delta.get("roles") or [r for r in kinds if r.split(".", 1)[1] in spec(delta["method"]).parts]
        deltas.append({**delta, "roles": [role for role in roles if role in kinds]})
    training = {"steps": job.steps, "batch_size": job.batch_size}
    return Candidate.model_validate({"deltas": deltas, "training": training})


def run(job: Job) -> dict[str, Any]:
    """Accuracy and the task's own metric on the split, and the seconds that it all took."""
    import torch

    from autodelta import tasks
    from autodelta.backbones import load
    from autodelta.engine.encode import encode
    from autodelta.engine.train import Trial

    torch.set_num_threads(1)
    started = time.monotonic()
    task = tasks.load(job.task, data=job.data)
    backbone = load("nano" if job.weights == "random" else job.weights)
    if job.weights == "random":
        torch.manual_seed(job.seed)
        fresh = type(backbone.model)(backbone.model.config).to(backbone.dtype)
        backbone = replace(backbone, model=fresh.requires_grad_(False).eval())
    train, scored = encode(backbone, task, "train"), encode(backbone, task, job.split)
    trial = Trial(backbone, candidate(job, backbone.shape), seed=job.seed)
    for _ in trial.steps(train):
        pass
    found = trial.evaluate(scored, task)
    gold = [task.labels[number] for number in scored.labels]
    right = sum(a == b for a, b in zip(gold, found.predictions, strict=True))
    return {
        "task": job.task,
        "weights": job.weights,
        "deltas": "+".join(job.deltas),
        "seed": job.seed,
        "learning_rate": job.key[-1],
        "accuracy": round(right / len(gold), 4),
        "score": round(found.score, 4),
        "rows": len(gold),
        "seconds": round(time.monotonic() - started),
    }


def read(path: Path) -> list[dict[str, str]]:
    """The lines that a CSV has so far."""
    return list(csv.DictReader(path.open(encoding="utf8"))) if path.exists() else []


def run_missing(jobs: Iterable[Job], path: Path, *, processes: int) -> None:
    """Runs the jobs that the CSV lacks, and adds a line for each as it ends."""
    done = {tuple(row[name] for name in ("task", "weights", "deltas", "seed", "learning_rate")) for row in read(path)}
    left = [job for job in jobs if job.key not in done]
    print(f"{len(left)} trials to run, {len(done)} done")
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for row in pool.imap_unordered(run, left):
            append(path, [row])
            print(" ".join(map(str, row.values())))


def append(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Adds lines to a CSV, which begins with its header."""
    new = not path.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", newline="", encoding="utf8") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        if new:
            writer.writeheader()
        writer.writerows(rows)


def tuning(cells: Iterable[Cell], tasks: Sequence[str], data: Path, *, steps: int, batch_size: int) -> list[Job]:
    """The trials that choose the learning rate of each cell, one for all tasks: on validation, at seed 0."""
    return [
        Job(name, data, weights, (deltas,), 0, steps, batch_size, learning_rate=rate, split="validation")
        for weights, deltas in cells
        for rate in RATES[deltas]
        for name in tasks
    ]


def best_rates(rows: Iterable[dict[str, str]], tasks: int) -> dict[Cell, float]:
    """By cell, the rate whose mean accuracy over so many tasks is the highest; only cells whose tuning is whole."""
    found: dict[Cell, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        found[row["weights"], row["deltas"]][float(row["learning_rate"])].append(float(row["accuracy"]))
    best = {}
    for (weights, deltas), by in found.items():
        if sum(map(len, by.values())) == len(RATES[deltas]) * tasks:
            best[weights, deltas] = max(by, key=lambda rate: mean(by[rate]))
    return best


def accuracies(rows: Iterable[dict[str, str]]) -> dict[tuple[str, str, str], list[float]]:
    """By task, weights and deltas, a value a seed."""
    found: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for row in rows:
        found[row["task"], row["weights"], row["deltas"]].append(float(row["accuracy"]))
    return found
