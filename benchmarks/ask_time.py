"""What choosing the next trial takes at 500 trials: ``PYTHONPATH=. python benchmarks/ask_time.py``.

For ``meta``: the ask alone, in the default space on nano's shape, with a fitted model of the shipped size (must hold:
0.2 s). For ``tpe``: ask and tell (0.2 s). Seconds of the process, one thread, as the cores may be shared. Scores are
random, and a part of the trials was stopped, so that both parts of a study are met.
"""

import argparse
import dataclasses
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import optuna

from autodelta.backbones import load
from autodelta.meta.compositions import layout, sources
from autodelta.meta.fitting import fit
from autodelta.meta.records import About, Point, Table
from autodelta.meta.saved import save
from autodelta.meta.training import Settings
from autodelta.search.samplers import Scene, sampler
from autodelta.space import Space
from tests.meta.tables import record, task_features

RESULTS = Path(__file__).parent / "results" / "ask_time.md"
TASKS, A_TASK = 8, 24  # recorded trials that the model is fitted on
ASKS = 11
LIMIT = 0.2


def a_model(space: Space, folder: Path) -> dict[str, float]:
    """Fits a model of the default size, in few steps, to trials with random scores; a task's features."""
    rng = np.random.default_rng(0)
    about = About(
        backbone="nano", backbone_sha256="0", dtype="fp32", shape=space.shape, space="default", space_text=space.text,
        seed=1, curve=(100,),
    )  # fmt: skip
    records, tasks = [], {}
    for number in range(TASKS):
        name = f"task{number}"
        tasks[name] = task_features(name, **{column: float(rng.uniform()) for column in layout().features})
        for candidate in dict.fromkeys(space.sample(rng) for _ in range(A_TASK)):
            steps = candidate.training.steps
            end = Point(step=steps, score=float(rng.uniform()), train_loss=1.0, device_seconds=steps / 25)
            records.append(record(task=name, candidate=candidate, curve=(end,), device_seconds=steps / 25))
    table = Table(records=tuple(records), tasks=tasks, about=about)
    model = fit(sources(table), Settings(steps=5))
    found = model.found.model_copy(update={"opening": 0})  # random scores teach nothing, and would not be asked
    save(dataclasses.replace(model, found=found), folder)
    return dict.fromkeys(layout().features, 0.5)


def a_study(space: Space, trials: int) -> optuna.Study:
    """So many trials at random, one in three stopped at its first rung, as a search notes them."""
    rng = np.random.default_rng(1)
    study = optuna.create_study(direction="maximize")
    study.sampler = optuna.samplers.RandomSampler(seed=1)
    for number in range(trials):
        trial = study.ask()
        candidate = space.suggest(trial)
        trial.set_user_attr("candidate", candidate.model_dump_json())
        trial.report(float(rng.uniform()), 12)
        if number % 3:
            study.tell(trial, float(rng.uniform()))
        else:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    return study


def spent(do: Callable[[], None]) -> float:
    """Seconds of this process that a call takes."""
    began = time.process_time()
    do()
    return time.process_time() - began


def asked(name: str, scene: Scene, trials: int, *, tell: bool) -> list[float]:
    """Seconds of each of some asks in a study of so many trials, with the tell where that counts; the first, which
    reads the model and the trials, comes first."""
    study, build = a_study(scene.space, trials), sampler(name).build
    assert build is not None
    found = []
    for number in range(ASKS):
        started: list[optuna.Trial] = []

        def ask(seed: int = number, started: list[optuna.Trial] = started) -> None:
            study.sampler = build(seed, scene)
            started.append(study.ask())
            started[-1].set_user_attr("candidate", scene.space.suggest(started[-1]).model_dump_json())

        def end(started: list[optuna.Trial] = started) -> None:
            study.tell(started[-1], 0.5)

        asking, telling = spent(ask), spent(end)
        found.append(asking + tell * telling)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=500)
    given = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = Space.load("default", load("nano").shape)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        scene = Scene(space, a_model(space, Path(folder)), Path(folder))
        for name, tell in (("meta", False), ("tpe", True)):
            first, *later = asked(name, scene, given.trials, tell=tell)
            what = "ask and tell" if tell else "ask"
            rows.append(
                f"| {what}, `{name}`, at {given.trials} trials | {statistics.median(later):.3f} s | {max(later):.3f} s "
                f"| {first:.2f} s | {LIMIT} s |"
            )
            print(rows[-1])
    head = [
        "<!-- benchmarks/ask_time.py -->",
        f"| CPU-seconds, one thread, {ASKS - 1} asks | median | most | the first of a process | at most |",
        "|---|---|---|---|---|",
    ]
    RESULTS.write_text("\n".join([*head, *rows]) + "\n", encoding="utf8")


if __name__ == "__main__":
    main()
