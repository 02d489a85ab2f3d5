"""Does nano's pretraining help? Test accuracy of nano and of random weights of its shape on twelve labelled tasks.

    python benchmarks/pretraining_helps.py --data DIR --out benchmarks/results/pretraining_helps.csv

Runs five methods on nano and two on random weights, three seeds each, beside the majority class and TF-IDF with
logistic regression. Every finished run is a line of the CSV; called again, the script goes on with what is missing. ``--table``
prints the Markdown table from the CSV alone. Sizes and learning rates were fixed beforehand, equal for all tasks.
"""

import argparse
import csv
import multiprocessing
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev

TASKS = ("sst2", "subj", "trec", "cola", "mr", "rte", "cb", "snips", "emotion", "boolq", "qqp", "snli")
SEEDS = (0, 1, 2)
STEPS, BATCH = 300, 16
ALL_LINEAR = [
    *(
        f"encoder.{part}"
        for part in ("self_attn.q", "self_attn.k", "self_attn.v", "self_attn.o", "ffn.in", "ffn.gate", "ffn.out")
    ),
    *(f"decoder.{a}.{p}" for a in ("self_attn", "cross_attn") for p in "qkvo"),
    *(f"decoder.ffn.{part}" for part in ("in", "gate", "out")),
]
SUBLAYERS = ["encoder.self_attn", "encoder.ffn", "decoder.self_attn", "decoder.cross_attn", "decoder.ffn"]
METHODS = {
    "full": {"method": "full", "roles": None, "config": {}, "learning_rate": 1e-3},
    "lora": {"method": "lora", "roles": ALL_LINEAR, "config": {"rank": 8, "alpha": 16}, "learning_rate": 5e-3},
    "adapter": {"method": "adapter", "roles": SUBLAYERS, "config": {"bottleneck": 24}, "learning_rate": 3e-3},
    "bitfit": {"method": "bitfit", "roles": ALL_LINEAR, "config": {}, "learning_rate": 1e-2},
    "prompt": {"method": "prompt", "roles": ["encoder.embeddings"], "config": {"length": 20}, "learning_rate": 0.3},
}
CELLS = [("nano", method) for method in METHODS] + [("random", "full"), ("random", "lora")]
FIELDS = ("task", "weights", "method", "seed", "test_accuracy", "rows", "seconds")


def candidate(method: str, shape):  # type: ignore[no-untyped-def]
    from autodelta.candidate import Candidate
    from autodelta.deltas.spec import spec

    delta = dict(METHODS[method])
    if delta["roles"] is None:
        delta["roles"] = [role for role in shape.kinds() if role.split(".", 1)[1] in spec(method).parts]
    return Candidate.model_validate({"deltas": [delta], "training": {"steps": STEPS, "batch_size": BATCH}})


def one_run(job: tuple[str, str, str, int, Path]) -> dict[str, object]:
    """Trains on train, scores once on test; accuracy whatever the task's own metric."""
    import time

    import torch

    from autodelta import tasks
    from autodelta.backbones import load
    from autodelta.engine.encode import encode
    from autodelta.engine.evaluate import predict
    from autodelta.engine.train import Trial

    name, weights, method, seed, data = job
    torch.set_num_threads(1)
    started = time.monotonic()
    task = tasks.load(name, data=data)
    backbone = load("nano")
    if weights == "random":
        torch.manual_seed(seed)
        fresh = type(backbone.model)(backbone.model.config).to(backbone.dtype)
        backbone = replace(backbone, model=fresh.requires_grad_(False).eval())
    train, validation, test = (encode(backbone, task, split) for split in ("train", "validation", "test"))
    with Trial(backbone, candidate(method, backbone.shape), seed=seed) as trial:
        for _ in trial.reports(train, validation, task):
            pass
        found = predict(backbone.model, test, task.labels)
    gold = [task.labels[n] for n in test.labels]
    right = sum(a == b for a, b in zip(gold, found, strict=True))
    return dict(
        zip(
            FIELDS,
            (name, weights, method, seed, round(right / len(gold), 4), len(gold), round(time.monotonic() - started)),
            strict=True,
        )
    )


def floors(name: str, data: Path) -> list[dict[str, object]]:
    """Majority class and TF-IDF (words and bigrams) with logistic regression."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    from autodelta import tasks

    task = tasks.load(name, data=data)
    train, test = task.examples("train"), task.examples("test")
    most = Counter(e.label for e in train).most_common(1)[0][0]
    words = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(C=10, max_iter=2000)
    )
    words.fit([e.input for e in train], [e.label for e in train])
    scores = {
        "majority": mean(e.label == most for e in test),
        "tfidf": float(words.score([e.input for e in test], [e.label for e in test])),
    }
    return [
        dict(zip(FIELDS, (name, "-", kind, 0, round(value, 4), len(test), 0), strict=True))
        for kind, value in scores.items()
    ]


def table(rows: list[dict[str, str]]) -> str:
    """Mean and standard deviation over seeds, a row a task; the last column: is nano better by two standard errors?"""
    cells: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for row in rows:
        cells[row["task"], row["weights"], row["method"]].append(float(row["test_accuracy"]))
    columns = [("-", "majority"), ("-", "tfidf"), *CELLS]
    lines = [
        "| task | " + " | ".join(m if w == "-" else f"{w} {m}" for w, m in columns) + " | nano > random |",
        "|---" * (len(columns) + 2) + "|",
    ]
    for name in TASKS:
        shown = []
        for column in columns:
            values = cells.get((name, *column), [])
            spread = f" ± {stdev(values):.3f}" if len(values) > 1 else ""
            shown.append(f"{mean(values):.3f}{spread}" if values else "")
        lines.append(f"| {name} | " + " | ".join(shown) + f" | {_verdict(cells, name)} |")
    return "\n".join(lines)


def _verdict(cells: dict[tuple[str, str, str], list[float]], name: str) -> str:
    """For full fine-tuning and LoRA: the difference in standard errors (of the difference of means)."""
    found = []
    for method in ("full", "lora"):
        ours, theirs = cells.get((name, "nano", method), []), cells.get((name, "random", method), [])
        if min(len(ours), len(theirs)) < 2:
            return ""
        error = (stdev(ours) ** 2 / len(ours) + stdev(theirs) ** 2 / len(theirs)) ** 0.5
        difference = mean(ours) - mean(theirs)
        found.append(f"{method} {difference:+.3f} ({difference / max(error, 1e-9):+.1f} se)")
    return ", ".join(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "pretraining_helps.csv")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--table", action="store_true", help="print the table and stop")
    arguments = parser.parse_args()
    rows = list(csv.DictReader(arguments.out.open())) if arguments.out.exists() else []
    if not arguments.table:
        done = {(r["task"], r["weights"], r["method"], int(r["seed"])) for r in rows}
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        with arguments.out.open("a", newline="") as file:
            writer = csv.DictWriter(file, FIELDS)
            if not rows:
                writer.writeheader()
            for name in TASKS:
                if (name, "-", "majority", 0) not in done:
                    writer.writerows(floors(name, arguments.data))
            jobs = [
                (name, weights, method, seed, arguments.data)
                for seed in SEEDS
                for name in TASKS
                for weights, method in CELLS
                if (name, weights, method, seed) not in done
            ]
            with multiprocessing.get_context("spawn").Pool(arguments.processes) as pool:
                for row in pool.imap_unordered(one_run, jobs):
                    writer.writerow(row)
                    file.flush()
                    print(*row.values(), flush=True)
        rows = list(csv.DictReader(arguments.out.open()))
    print(table(rows))


if __name__ == "__main__":
    main()
