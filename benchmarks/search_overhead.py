"""What a search costs beside its trials: ``PYTHONPATH=. python benchmarks/search_overhead.py [--tune]``.

Asking and telling with TPE at 500 trials on disk (must hold: 0.2 s); a checkpoint and the ledger as a share of a trial
on nano (2 %); with ``--tune``, what Ray Tune adds to a trial (0.35 s), against the same in this process.
"""

import argparse
import itertools
import statistics
import tempfile
import time
from contextlib import closing
from pathlib import Path

from autodelta.engine.assignment import Assignment, WorkerSpec
from autodelta.engine.report import Report
from autodelta.search.ledger import Ledger, Spending
from autodelta.search.pruning import Halving, reports, rungs
from autodelta.search.records import Outcome
from autodelta.search.samplers import sampler
from autodelta.search.storage import quiet
from autodelta.search.study import Study
from autodelta.space import Space

RESULTS = Path(__file__).parent / "results" / "search_overhead.md"


def ask_and_tell(trials: int) -> list[float]:
    """Seconds of ask + reports + tell, trial by trial, in a study on disk."""
    import zlib

    from autodelta.backbones import load

    space = Space.load("default", load("nano").shape)
    levels = rungs(space.settings.most_steps)
    spent = []
    with tempfile.TemporaryDirectory() as folder, quiet():
        study = Study(Path(folder), space, sampler=sampler("tpe"), seed=0, pruner=Halving(levels))
        with closing(study):
            for _ in range(trials):
                began = time.perf_counter()
                asked = study.ask()
                assert asked is not None
                height = zlib.crc32(asked.candidate.key.encode()) % 1000 / 1000
                outcome = Outcome(state="complete")
                for step in reports(asked.candidate.training.steps, levels):
                    done = step == asked.candidate.training.steps
                    report = Report(step=step, score=height, train_loss=1.0, device_seconds=step / 10, done=done)
                    if not study.report(asked.number, report):
                        outcome = Outcome(state="pruned", reason="not among the best")
                        break
                study.tell(asked.number, outcome)
                spent.append(time.perf_counter() - began)
    return spent


def books() -> tuple[float, float]:
    """Checkpoints and ledger as shares of a trial's seconds: LoRA on nano, 100 steps on a demo task."""
    from autodelta.candidate import Candidate

    worker = WorkerSpec(backbone="nano", task="demo/entailment").open()
    delta = {
        "method": "lora",
        "roles": ["encoder.self_attn.q", "encoder.self_attn.v", "decoder.cross_attn.q"],
        "config": {"rank": 8, "alpha": 16},
        "learning_rate": 3e-3,
    }
    candidate = Candidate.model_validate({"deltas": [delta], "training": {"steps": 100, "batch_size": 16}})
    saving = 0.0
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        for _ in worker.run(Assignment(number=0, candidate=candidate, seed=0, report_at=(12, 34, 100))):
            before = time.perf_counter()
            worker.save(Path(folder) / "checkpoint.safetensors")
            saving += time.perf_counter() - before
        trial = time.perf_counter() - began
        ledger = Ledger(Path(folder) / "ledger.jsonl")
        for slot in range(2):
            ledger.enter(slot, Spending.TRAINING, trials=(slot,))
        before = time.perf_counter()
        for _ in range(20):
            ledger.tick(force=True)
        writing = (time.perf_counter() - before) / 20  # once a second
    return saving / trial, writing


def gap(executor: str, trials: int) -> float:
    """The median of the seconds from one trial's end to the next one's, of trials that take no time; one worker."""
    from autodelta.search.driver import search
    from autodelta.search.events import Event, TrialEnded
    from tests.search import fakes

    ends: list[float] = []

    def listen(event: Event) -> None:
        if isinstance(event, TrialEnded):
            ends.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        settings = fakes.settings(budget=f"{trials}trials", executor=executor, workers=1, confirm_share=0.0)
        search(settings, fakes.space(Path(folder)), folder=Path(folder) / "run", events=listen)
    return statistics.median(later - before for before, later in itertools.pairwise(ends))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--tune", action="store_true")
    asked = parser.parse_args()
    spent = ask_and_tell(asked.trials)
    last = statistics.median(spent[-50:])
    saving, writing = books()
    rows = [
        f"| ask + reports + tell, TPE, at {asked.trials} trials (median of the last 50) | {last:.3f} s | 0.2 s |",
        f"| checkpoints, share of a trial | {saving:.1%} | 2 % |",
        f"| the ledger, share of a second | {writing:.1%} | 2 % |",
    ]
    if asked.tune:
        added = gap("ray", 60) - gap("local", 60)
        rows.append(f"| Ray Tune, added from one trial's end to the next (median of 60) | {added:.2f} s | 0.35 s |")
    head = ["<!-- benchmarks/search_overhead.py -->", "| what | measured | at most |", "|---|---|---|"]
    RESULTS.write_text("\n".join([*head, *rows]) + "\n", encoding="utf8")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
