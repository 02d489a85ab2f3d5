"""A past in memory and on disk, for tests: tasks on which LoRA of a high rank was best, and a quick fit of them."""

from pathlib import Path

import numpy as np
import pytest

from autodelta.candidate import Candidate
from autodelta.meta import fitting, past
from autodelta.meta.compositions import layout
from autodelta.meta.records import About, Point, Table, write_table
from autodelta.meta.training import Settings
from autodelta.space import Space
from autodelta.studies.learn import learn
from tests.meta.tables import record, task_features

QUICK = Settings(steps=150, tasks=8, members=2, hidden=24, heads=8, embedding=4)
TASKS, CANDIDATES = 8, 24
FEATURES = dict.fromkeys(layout().features, 0.5)


def worth(candidate: Candidate) -> float:
    """LoRA is good, the more the higher its rank and the rate; a prompt is not."""
    found = 0.5
    for delta in candidate.deltas:
        if delta.method == "lora":
            found += 0.1 + 0.02 * delta.config.rank + 0.03 * np.log10(delta.learning_rate / 1e-4)  # type: ignore[attr-defined]
        elif delta.method == "prompt":
            found -= 0.1
    return float(found)


def a_past(space: Space, *, tasks: int = TASKS, sha256: str = "0") -> Table:
    """Tasks whose scores differ in level and scale; half of the candidates were tried on all of them."""
    rng = np.random.default_rng(0)
    records, known = [], {}
    shared = [space.sample(rng) for _ in range(CANDIDATES // 2)]
    for number in range(tasks):
        task, level, scale = f"task{number}", rng.uniform(-0.2, 0.2), rng.uniform(0.5, 1.5)
        known[task] = task_features(task, **{name: float(rng.uniform()) for name in FEATURES})
        own = [space.sample(rng) for _ in range(CANDIDATES // 2)]
        for candidate in dict.fromkeys([*shared, *own]):
            score = level + scale * worth(candidate) + rng.normal(0, 0.002)
            point = Point(step=candidate.training.steps, score=score, train_loss=1.0, device_seconds=4.0)
            records.append(
                record(
                    task=task,
                    candidate=candidate,
                    curve=(point,),
                    test=score,
                    backbone="tiny",
                    backbone_sha256=sha256,
                    parameters=candidate.count_parameters(space.shape),
                )
            )
    about = About(
        backbone="tiny",
        backbone_sha256=sha256,
        dtype="fp32",
        shape=space.shape,
        space=space.name,
        space_text=space.text,
        seed=1,
        curve=(40,),
    )
    return Table(records=tuple(records), tasks=known, about=about)


def learned(folder: Path, table: Table) -> Path:
    """The folder of a model that was quickly fitted to a table, and not to the records that ship."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(past, "BUNDLED", folder / "none")
        patch.setattr(fitting, "Settings", lambda: QUICK)
        learn(folder / "model", tables=[write_table(folder / "table", table)])
    return folder / "model"
