"""What a trial costs beside the usual way: ``python benchmarks/against_trainer.py --data TASKS [--candidates 24]``.

The usual way is a process per trial: transformers' Trainer, peft's LoRA (candidates that peft has no form for go on the
same Trainer by the hooks of ``autodelta.deltas``), and ``generate`` on the validation split at the end. Ours is one
resident worker, with the text loss and with the loss over labels. The same candidates, rows, steps and evaluation; what
is counted are CPU-seconds, start-up included (a worker's is shared by 24 trials), of runs that take turns: each
candidate goes through the usual way (a backbone's first in float32 and in bfloat16, the others in what was cheaper) and
through both workers before the next one begins. Every trial is a line of ``benchmarks/results/against_trainer.csv``;
what is there is not run again.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from trials import DELTAS, Job, append, candidate, read

from autodelta import tasks
from autodelta.backbones.loading import BUNDLED
from autodelta.candidate import Candidate
from autodelta.engine.assignment import Assignment, WorkerSpec
from autodelta.shape import BackboneShape
from autodelta.space import Space

RESULTS = Path(__file__).parent / "results"
CSV, TABLE = RESULTS / "against_trainer.csv", RESULTS / "against_trainer.md"
STEPS, BATCH, SEED = 40, 16, 0
ALIKE = 8  # those with LoRA alone differ by their learning rates and nothing else, so that an eighth of them will do
SHARING = 24  # trials, a worker's start: far fewer than a search has
SETS = {"lora": "LoRA in all blocks", "space": "a sample of the default space", "lora decoder": "LoRA in the decoder"}
USUAL, OURS = ("usual float32", "usual bfloat16"), ("text", "labels")
TARGETS = {"lora": (2, 3), "space": (3, 5), "lora decoder": (5, 12)}
RATES = (1.0, 0.5, 2.0, 0.7, 1.4, 0.3)  # of the fixed candidates' learning rates, so that no two trials are the same


# --- a backbone and candidates ---------------------------------------------------------------------------------------


def save_wide(folder: Path) -> Path:
    """A T5 of d_model 256 with 4 + 4 blocks and random weights: nothing but its cost is looked at."""
    from transformers import AutoTokenizer, T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    sizes = {"d_model": 256, "d_kv": 32, "d_ff": 1024, "num_layers": 4, "num_decoder_layers": 4, "num_heads": 8}
    config = T5Config(vocab_size=8192, decoder_start_token_id=0, dropout_rate=0.0, **sizes)
    T5ForConditionalGeneration(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(BUNDLED / "nano").save_pretrained(folder)
    return folder


def candidates(kind: str, shape: BackboneShape, number: int) -> Iterator[Candidate]:
    plan = {"steps": STEPS, "batch_size": BATCH}
    if kind == "space":
        space, rng = Space.load("default", shape), np.random.default_rng(SEED)
        for _ in range(number):
            drawn = space.sample(rng)
            yield drawn.model_copy(update={"training": drawn.training.model_copy(update=plan)})
        return
    fixed = candidate(Job("", Path(), "", (kind,), SEED, STEPS, BATCH), shape).deltas[0]
    for index in range(max(1, number // ALIKE)):
        rate = DELTAS[kind]["learning_rate"] * RATES[index % len(RATES)]
        yield Candidate.model_validate({"deltas": [fixed.model_copy(update={"learning_rate": rate})], "training": plan})


# --- the usual way, in a process of its own --------------------------------------------------------------------------


def usual(asked: dict[str, Any]) -> None:
    """One trial: load, train, generate, score."""
    from transformers import (
        AutoModelForSeq2SeqLM,
        AutoTokenizer,
        DataCollatorForSeq2Seq,
        Seq2SeqTrainer,
        Seq2SeqTrainingArguments,
    )

    torch.set_num_threads(1)
    plan = Candidate.model_validate_json(asked["candidate"])
    task = tasks.load(asked["task"], data=Path(asked["data"]))
    tokenizer = AutoTokenizer.from_pretrained(asked["folder"])
    dtype = getattr(torch, asked["dtype"])
    model: Any = AutoModelForSeq2SeqLM.from_pretrained(asked["folder"], dtype=dtype)

    def encoded(split: str) -> list[dict[str, Any]]:
        rows = task.examples(split)
        ids = tokenizer([row.input for row in rows], truncation=True, max_length=256)["input_ids"]
        targets = tokenizer([row.target for row in rows])["input_ids"]
        return [{"input_ids": one, "labels": other} for one, other in zip(ids, targets, strict=True)]

    def score(found: Any) -> dict[str, float]:
        said = tokenizer.batch_decode(np.where(found.predictions < 0, 0, found.predictions), skip_special_tokens=True)
        by_word = {word: label for label, word in task.words.items()}
        gold = [row.label for row in task.examples("validation")]
        return {"score": task.score(gold, [by_word.get(one.strip(), task.labels[0]) for one in said])}

    train, validation = encoded("train"), encoded("validation")
    rate = plan.deltas[0].learning_rate
    with tempfile.TemporaryDirectory() as folder:
        model, optimizer = _with_deltas(model, plan, Path(folder))
        trainer = Seq2SeqTrainer(
            model=model,
            args=Seq2SeqTrainingArguments(
                output_dir=folder,
                max_steps=plan.training.steps,
                per_device_train_batch_size=plan.training.batch_size,
                per_device_eval_batch_size=64,
                learning_rate=rate,
                lr_scheduler_type=plan.training.schedule,
                warmup_steps=round(plan.training.warmup * plan.training.steps),
                weight_decay=plan.training.weight_decay,
                predict_with_generate=True,
                generation_max_length=max(len(row["labels"]) for row in train) + 1,
                generation_num_beams=1,
                save_strategy="no",
                report_to=[],
                disable_tqdm=True,
                use_cpu=True,
                seed=SEED,
            ),
            train_dataset=train,
            eval_dataset=validation,
            data_collator=DataCollatorForSeq2Seq(tokenizer, model=model),
            compute_metrics=score,
            optimizers=(optimizer, None),
        )
        trainer.train()
        print(json.dumps(trainer.evaluate()))


def _with_deltas(model: Any, plan: Candidate, folder: Path) -> tuple[Any, Any]:
    """peft's model where peft holds the candidate, with Trainer's own optimiser; else ours by hooks, with AdamW."""
    from autodelta.deltas.attached import attach
    from autodelta.deltas.peft_format import to_peft
    from autodelta.errors import UserError

    on = attach(model, plan, seed=SEED, label_ids=[[5]])
    try:
        to_peft(model, plan, on.state_dict(), folder / "peft")
    except UserError:
        model.add_module("deltas", on.composition)
        groups = [{"params": parameters, "lr": delta.learning_rate} for delta, parameters in on.groups()]
        return model, torch.optim.AdamW(groups, weight_decay=plan.training.weight_decay)
    from peft import PeftConfig, get_peft_model

    on.detach()
    config = PeftConfig.from_pretrained(str(folder / "peft"))
    config.inference_mode = False
    return get_peft_model(model, config), None


# --- ours, in a process that stays -----------------------------------------------------------------------------------


def resident() -> None:
    """Trains the candidates that it reads, and says what each has cost, the start before all of them."""
    asked = json.loads(input())
    worker = WorkerSpec(backbone=asked["folder"], task=asked["task"], data=Path(asked["data"])).open()
    assert len(worker._train) >= len(worker._validation)  # encodes them: a part of the start
    print(json.dumps({"seconds": time.process_time()}), flush=True)
    for number, line in enumerate(sys.stdin):
        began = time.process_time()
        plan = Candidate.model_validate_json(line)
        *_, last = worker.run(Assignment(number=number, candidate=plan, seed=SEED, report_at=(STEPS,)))
        worker.close_trial()
        print(json.dumps({"seconds": time.process_time() - began, "score": last.score}), flush=True)


class Resident:
    """A worker in a process of its own."""

    def __init__(self, asked: dict[str, Any]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--resident"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.start = self.ask(json.dumps(asked))["seconds"]

    def ask(self, line: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(line, file=self._process.stdin, flush=True)
        found: dict[str, Any] = json.loads(self._process.stdout.readline())
        return found

    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


# --- both ------------------------------------------------------------------------------------------------------------


def compare(asked: dict[str, Any], name: str, kind: str, number: int) -> None:
    """Runs what the CSV lacks of a cell."""
    cell = {"backbone": name, "task": asked["task"], "set": kind}
    done = {(row["candidate"], row["way"]) for row in read(CSV) if cell.items() <= row.items()}
    shape = BackboneShape.of(json_config(asked["folder"]))
    workers: dict[str, Resident] = {}
    for index, plan in enumerate(candidates(kind, shape, number)):
        for way in (*_usual_ways(cell, str(index)), *OURS):
            if (str(index), way) in done:
                continue
            if way in OURS:
                if way not in workers:
                    workers[way] = Resident(asked)
                loss = plan.training.model_copy(update={"loss": way})
                found = workers[way].ask(plan.model_copy(update={"training": loss}).model_dump_json())
                seconds, start = found["seconds"], workers[way].start
            else:
                dtype = way.removeprefix("usual ")
                seconds, found = _usual({**asked, "candidate": plan.model_dump_json(), "dtype": dtype})
                start = 0.0
            row = {**cell, "candidate": index, "methods": "+".join(plan.methods), "way": way}
            append(CSV, [{**row, "seconds": round(seconds, 3), "start": round(start, 3), "score": found["score"]}])
            print(*row.values(), round(seconds, 2), flush=True)
    for worker in workers.values():
        worker.end()


def _usual_ways(cell: dict[str, str], index: str) -> tuple[str, ...]:
    """Both dtypes for a backbone's first trial, then the one in which that took less."""
    tried = [row for row in read(CSV) if row["backbone"] == cell["backbone"] and row["way"] in USUAL]
    first = [row for row in tried if all(row[key] == tried[0][key] for key in ("task", "set", "candidate"))]
    here = bool(first) and {**cell, "candidate": index}.items() <= first[0].items()
    if here or len(first) < len(USUAL):
        return USUAL
    return (min(first, key=lambda row: float(row["seconds"]))["way"],)


def json_config(folder: str) -> Any:
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(folder)


def _usual(asked: dict[str, Any]) -> tuple[float, dict[str, Any]]:
    """CPU-seconds of a process, with what it started, and the score that it printed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    said = subprocess.run(
        [sys.executable, __file__, "--usual", json.dumps(asked)], check=True, capture_output=True, text=True
    ).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return spent, {"score": json.loads(said.splitlines()[-1])["eval_score"]}


def table() -> str:
    lines = [
        "<!-- benchmarks/against_trainer.py: medians over candidates, CPU-seconds (usual over ours) -->",
        "| backbone | task | candidates | usual way, CPU-s a trial | text loss | labels' loss | at least |",
        "|---" * 7 + "|",
    ]
    rows = sorted(read(CSV), key=lambda row: (row["backbone"] != "nano", row["task"], list(SETS).index(row["set"])))
    for (backbone, task, kind), members in groupby(rows, lambda row: (row["backbone"], row["task"], row["set"])):
        found: dict[str, dict[str, float]] = {}
        for row in members:
            seconds = float(row["seconds"]) + float(row["start"]) / SHARING
            column = found.setdefault("usual" if row["way"] in USUAL else row["way"], {})
            column[row["candidate"]] = min(seconds, column.get(row["candidate"], seconds))
        whole = set.intersection(*(set(column) for column in found.values())) if len(found) == 3 else set()
        if whole:
            theirs = statistics.median(found["usual"][one] for one in whole)
            cells = [backbone, task, f"{SETS[kind]}, {len(whole)}", f"{theirs:.1f}"]
            for way in OURS:
                ours = statistics.median(found[way][one] for one in whole)
                ratio = statistics.median(found["usual"][one] / found[way][one] for one in whole)
                cells.append(f"{ours:.2f} ({ratio:.1f}x)")
            lines.append(f"| {' | '.join([*cells, '{}x, {}x'.format(*TARGETS[kind])])} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--tasks", default="trec,rte")
    parser.add_argument("--backbones", default="nano,d256")
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--candidates", type=int, default=24)
    parser.add_argument("--usual", help=argparse.SUPPRESS)
    parser.add_argument("--resident", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.usual:
        usual(json.loads(given.usual))
        return
    if given.resident:
        resident()
        return
    with tempfile.TemporaryDirectory() as folder:
        folders = {"nano": BUNDLED / "nano", "d256": Path(folder) / "d256"}
        for name in given.backbones.split(","):
            if name == "d256":
                save_wide(folders[name])
            for task in given.tasks.split(","):
                asked = {"folder": str(folders[name]), "task": task, "data": str(given.data)}
                for kind in given.sets.split(","):
                    compare(asked, name, kind, given.candidates)
                    TABLE.write_text(table(), encoding="utf8")
    print(table())


if __name__ == "__main__":
    main()
