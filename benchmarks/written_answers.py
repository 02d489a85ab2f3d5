"""Ranking labels beside writing them: ``python benchmarks/written_answers.py --data TASKS [--tasks trec,snips,subj]``.

LoRA in all blocks of nano is trained by text loss on tasks with labels, at three seeds. Then test is scored twice: by
the label whose word is likeliest, as such tasks are, and by the word that is written, as an open-ended task is, where
what is no label's word is wrong. With the CPU-seconds of both (the log-loss of the right answers included), and of
transformers' ``generate`` for the same answers, through hooks. Then answers of set lengths are written for rows of
random tokens by the bare nano, in turn with ``generate``: how the time grows. Written to
``benchmarks/results/written_answers.md``.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from trials import DELTAS, Job, candidate

from autodelta import tasks
from autodelta.backbones import Backbone, load
from autodelta.deltas.attached import Attached
from autodelta.engine.encode import encode, padded
from autodelta.engine.evaluate import evaluate
from autodelta.engine.forward import Forward
from autodelta.engine.generate import written as write
from autodelta.engine.memory import keep_freed
from autodelta.engine.train import Trial
from autodelta.tasks import Task
from autodelta.tasks.task import Row

RESULT = Path(__file__).parent / "results" / "written_answers.md"
STEPS, BATCH, SEEDS, ROWS = 250, 16, 3, 64
LENGTHS, TIMES, AT_ONCE, INPUT = (4, 8, 16, 32, 64, 128, 256), 5, 32, 60
NEVER = -1  # a token that nothing ends with
T = TypeVar("T")


def timed(action: Callable[[], T]) -> tuple[float, T]:
    began = time.process_time()
    found = action()
    return time.process_time() - began, found


def free(task: Task) -> Task:
    """The same rows with label words as answers."""
    rows = {split: tuple(Row(row.fields, task.word(row.label)) for row in found) for split, found in task.rows.items()}
    changes = {"labels": (), "words": {}, "metric": "exact_match", "max_new_tokens": 8, "rows": rows}
    return task.model_copy(update=changes)


@torch.no_grad()
def by_transformers(backbone: Backbone, trial: Trial, task: Task) -> list[str]:
    """What ``generate`` writes for test."""
    encoded, said = encode(backbone, task, "test"), np.empty(len(task.rows["test"]), dtype=object)
    order = encoded.by_length()
    with Attached(backbone.model, trial.composition):
        for start in range(0, len(order), ROWS):
            rows = order[start : start + ROWS]
            ids, mask = padded([encoded.inputs[row] for row in rows], encoded.pad)
            found = backbone.model.generate(
                input_ids=ids, attention_mask=mask, max_new_tokens=8, do_sample=False, num_beams=1
            )
            said[rows] = backbone.tokenizer.batch_decode(found, skip_special_tokens=True)
    return list(said)


def compared(name: str, data: Path) -> str:
    """A line of the table."""
    backbone, task = load("nano"), tasks.load(name, data=data)
    opened = free(task)
    train, ranked, written = (encode(backbone, *which) for which in ((task, "train"), (task, "test"), (opened, "test")))
    scores, seconds, alike = [], [], []
    for seed in range(SEEDS):
        plan = candidate(Job(name, Path(), "nano", ("lora",), seed, STEPS, BATCH), backbone.shape)
        trial = Trial(backbone, plan, seed=seed)
        for _ in trial.steps(train):
            pass
        found = [
            timed(lambda: evaluate(trial.forward, ranked, task)),  # noqa: B023
            timed(lambda: evaluate(trial.forward, written, opened, tokenizer=backbone.tokenizer)),  # noqa: B023
        ]
        theirs = timed(lambda: by_transformers(backbone, trial, opened))  # noqa: B023
        gold = [row.label for row in task.examples("test")]
        words = [task.word(label) for label in found[0][1].predictions]
        right = sum(task.word(a) == b for a, b in zip(gold, found[1][1].predictions, strict=True)) / len(gold)
        accuracy = sum(a == b for a, b in zip(gold, found[0][1].predictions, strict=True)) / len(gold)
        scores.append(
            (accuracy, right, sum(a == b for a, b in zip(words, found[1][1].predictions, strict=True)) / len(gold))
        )
        seconds.append((found[0][0], found[1][0], theirs[0]))
        alike.append(sum(a == b.strip() for a, b in zip(found[1][1].predictions, theirs[1], strict=True)) / len(gold))
    cells = [f"{statistics.mean(values):.3f}" for values in (*zip(*scores, strict=True), alike)]
    cells += [f"{statistics.median(values):.1f}" for values in zip(*seconds, strict=True)]
    return f"| {name} | {' | '.join(cells)} |"


@torch.no_grad()
def by_length(dtype: torch.dtype) -> str:
    """A line of the second table: the median over turns of our CPU-seconds over those of ``generate``."""
    model = load("nano").model.to(dtype)
    forward = Forward(model)
    ids = torch.randint(5, model.config.vocab_size, (AT_ONCE, INPUT), generator=torch.Generator().manual_seed(0))
    mask, cells = torch.ones_like(ids), []
    for length in LENGTHS:
        asked = {"max_new_tokens": length, "min_new_tokens": length, "do_sample": False, "num_beams": 1}
        ratios = []
        for _ in range(1 + TIMES):
            ours = timed(lambda: write(forward, forward.encode(ids, mask), most=length, end=NEVER, pad=0))  # noqa: B023
            theirs = timed(lambda: model.generate(input_ids=ids, attention_mask=mask, **asked))  # noqa: B023
            ratios.append(ours[0] / theirs[0])
        cells.append(f"{statistics.median(ratios[1:]):.2f}")  # the first ones warm up
    return f"| {str(dtype).removeprefix('torch.')} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--tasks", default="trec,snips,subj")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed()  # as workers do
    lines = [
        f"<!-- benchmarks/written_answers.py: nano, LoRA at {DELTAS['lora']['learning_rate']}, {STEPS} steps -->",
        "| task | right by ranking | by writing | both say the same | generate writes the same "
        "| CPU-s ranking | writing | generate |",
        "|---" * 8 + "|",
        *(compared(name, asked.data) for name in asked.tasks.split(",")),
        "",
        f"CPU-seconds over those of generate, {AT_ONCE} rows of {INPUT} tokens, answers of so many:",
        "",
        f"| | {' | '.join(map(str, LENGTHS))} |",
        "|---" * (1 + len(LENGTHS)) + "|",
        *map(by_length, (torch.float32, torch.bfloat16)),
    ]
    RESULT.write_text("\n".join(lines) + "\n", encoding="utf8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
