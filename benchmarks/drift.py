"""Whether the fast engine's scores are the reference's: ``python benchmarks/drift.py --data TASKS [--tasks ..]``.

16 candidates of the default space x 3 seeds x 3 tasks, each trained by a plain loop over transformers with hooks in
float32 (the reference), by the engine in its own dtype, and by the engine over labels alone. To hold: at one seed, fast
and reference differ by no more than two seeds of the reference do, and rank the candidates at least as alike. Hours:
``benchmarks/results/drift.csv`` has a line for each trial, and what is there is not run again; ``--tasks`` names those
to run now (trec,subj), so that several can go at a time; the table is of what is there.
"""

import argparse
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from torch.nn import functional
from transformers.modeling_outputs import BaseModelOutput
from trials import append, read

from autodelta import tasks
from autodelta.backbones import Backbone, load
from autodelta.candidate import Candidate
from autodelta.deltas.attached import attach
from autodelta.engine.activations import Activations
from autodelta.engine.encode import Encoded, batches, encode, padded
from autodelta.engine.schedule import order_seed, rate_at
from autodelta.engine.train import MAX_GRADIENT_NORM, Trial
from autodelta.space import Space
from autodelta.tasks import Task

RESULTS = Path(__file__).parent / "results"
CSV, TABLE = RESULTS / "drift.csv", RESULTS / "drift.md"
TASKS, CANDIDATES, SEEDS = ("trec", "snips", "subj"), 16, 3
REFERENCE, WAYS, ROWS = "reference", ("text", "labels"), 64


def reference(backbone: Backbone, plan: Candidate, seed: int, splits: Sequence[Encoded], task: Task) -> float:
    """The validation score after a plain loop; nothing of the engine but the order of rows and the schedule."""
    train, validation = splits
    model, words = backbone.model, [ids[:-1].tolist() for ids in train.targets]
    with attach(model, plan, seed=seed, label_ids=words) as on:
        groups = [{"params": parameters, "peak": delta.learning_rate} for delta, parameters in on.groups()]
        optimiser = torch.optim.AdamW(groups, lr=0.0, weight_decay=plan.training.weight_decay)
        stream = batches(train, batch_size=plan.training.batch_size, seed=order_seed(seed))
        for step in range(plan.training.steps):
            batch = next(stream)
            optimiser.zero_grad()
            model(input_ids=batch.input_ids, attention_mask=batch.mask, labels=batch.targets).loss.backward()
            torch.nn.utils.clip_grad_norm_(list(on.parameters()), MAX_GRADIENT_NORM)
            for group in optimiser.param_groups:
                group["lr"] = group["peak"] * rate_at(step, plan.training)
            optimiser.step()
        likeliest = np.concatenate([label_scores(model, validation, rows) for rows in _parts(len(validation))]).argmax(
            1
        )
    gold = [task.labels[number] for number in validation.labels]
    return task.score(gold, [task.labels[number] for number in likeliest])


def _parts(rows: int) -> list[Any]:
    return [np.arange(start, min(rows, start + ROWS)) for start in range(0, rows, ROWS)]


@torch.no_grad()
def label_scores(model: Any, encoded: Encoded, rows: Any) -> Any:
    """(rows, labels) log-likelihoods, every label by itself."""
    ids, mask = padded([encoded.inputs[row] for row in rows], encoded.pad)
    memory = model.get_encoder()(input_ids=ids, attention_mask=mask).last_hidden_state
    columns = []
    for target in encoded.targets:
        labels = torch.from_numpy(target).repeat(len(ids), 1)
        given = BaseModelOutput(last_hidden_state=memory)
        logits = model(encoder_outputs=given, attention_mask=mask, labels=labels, use_cache=False).logits
        columns.append(-functional.cross_entropy(logits.transpose(1, 2), labels, reduction="none").sum(1))
    return torch.stack(columns, dim=1).numpy()


def fast(
    backbone: Backbone, plan: Candidate, seed: int, splits: Sequence[Encoded], task: Task, kept: Activations
) -> float:
    train, validation = splits
    words = [ids[:-1].tolist() for ids in train.targets]
    trial = Trial(backbone, plan, seed=seed, label_ids=words, kept=kept)
    for _ in trial.steps(train):
        pass
    return trial.evaluate(validation, task).score


def run(data: Path, names: Sequence[str]) -> None:
    exact, quick = load("nano", dtype="fp32"), load("nano")
    space, rng = Space.load("default", exact.shape), np.random.default_rng(0)
    plans = [space.sample(rng) for _ in range(CANDIDATES)]
    done = {(row["task"], row["candidate"], row["seed"], row["way"]) for row in read(CSV)}
    for seed, name in itertools.product(range(SEEDS), names):
        jobs = itertools.product(range(CANDIDATES), (REFERENCE, *WAYS))
        left = [job for job in jobs if (name, str(job[0]), str(seed), job[1]) not in done]
        if not left:
            continue
        task, kept = tasks.load(name, data=data), Activations()
        splits = [encode(exact, task, split) for split in ("train", "validation")]
        for number, way in left:
            plan = plans[number]
            if way == REFERENCE:
                score = reference(exact, plan, seed, splits, task)
            else:
                training = plan.training.model_copy(update={"loss": way})
                score = fast(quick, plan.model_copy(update={"training": training}), seed, splits, task, kept)
            row = {"task": name, "candidate": number, "methods": "+".join(plan.methods), "seed": seed, "way": way}
            append(CSV, [{**row, "score": round(score, 4)}])
            print(*row.values(), round(score, 4), flush=True)


def table() -> str:
    """By task and way: mean differences and rank correlations, beside those between seeds of the reference."""
    scores: dict[tuple[str, str], dict[tuple[str, str], float]] = {}
    for row in read(CSV):
        scores.setdefault((row["task"], row["way"]), {})[row["candidate"], row["seed"]] = float(row["score"])
    lines = [
        "<!-- benchmarks/drift.py -->",
        "| task | engine | trials | differs from the reference by | its two seeds by | ranks as it | its two seeds |",
        "|---" * 7 + "|",
    ]
    for name, way in itertools.product(TASKS, WAYS):
        theirs, ours = scores.get((name, REFERENCE), {}), scores.get((name, way), {})
        seeds = sorted({seed for _, seed in theirs})
        same = [_alike(ours, theirs, seed, seed) for seed in seeds]
        apart = [_alike(theirs, theirs, one, other) for one, other in itertools.combinations(seeds, 2)]
        count = len(theirs.keys() & ours.keys())
        cells = [_mean(same, 0), _mean(apart, 0), _mean(same, 1), _mean(apart, 1)]
        lines.append(f"| {name} | {way} | {count} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _alike(
    left: dict[tuple[str, str], float], right: dict[tuple[str, str], float], one: str, other: str
) -> tuple[float, float]:
    """Mean difference and rank correlation over the candidates that both have, at a seed each."""
    both = [(left[c, s], right[c, other]) for c, s in left if s == one and (c, other) in right]
    if len(both) < 3:  # too few to rank
        return (float(np.mean([abs(a - b) for a, b in both])) if both else np.nan), np.nan
    a, b = np.array(both).T
    return float(np.abs(a - b).mean()), float(spearmanr(a, b).statistic)


def _mean(found: Sequence[tuple[float, float]], which: int) -> str:
    values = [one[which] for one in found if not np.isnan(one[which])]
    return f"{np.mean(values):.3f}" if values else "-"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--tasks", default=",".join(TASKS))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    run(asked.data, asked.tasks.split(","))
    TABLE.write_text(table(), encoding="utf8")
    print(table())


if __name__ == "__main__":
    main()
