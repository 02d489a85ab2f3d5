"""Records and tasks in memory, for tests."""

from typing import Any

from autodelta.candidate import Candidate
from autodelta.meta.records import Point, Record, TaskFeatures


def candidate(rank: int = 2, steps: int = 40) -> Candidate:
    delta = {"method": "lora", "roles": ["encoder.self_attn.q"], "config": {"rank": rank}, "learning_rate": 0.001}
    return Candidate.model_validate({"deltas": [delta], "training": {"steps": steps, "batch_size": 8}})


def record(task: str = "one", rank: int = 2, repeat: int = 0, **changes: Any) -> Record:
    curve = tuple(
        Point(
            step=step,
            score=0.5 + step / 100 + rank / 100,
            log_loss=1 / rank,
            train_loss=1 / step,
            device_seconds=step / 10,
        )
        for step in (10, 20, 40)
    )
    given: dict[str, Any] = {
        "task": task,
        "train_rows": 100,
        "backbone": "tiny",
        "backbone_sha256": "0",
        "dtype": "fp32",
        "device": "cpu",
        "candidate": candidate(rank),
        "parameters": 64 * rank,
        "repeat": repeat,
        "seed": 7 + repeat,
        "state": "complete",
        "curve": curve,
        "test": 0.75,
        "device_seconds": 4.0,
        "evaluation_seconds": 0.5,
        "memory_bytes": 1_000_000,
        "versions": {"autodelta": "0.1"},
        **changes,
    }
    return Record(**given)


def task_features(task: str = "one", **features: float) -> TaskFeatures:
    return TaskFeatures(
        task=task,
        kind="nli",
        metric="accuracy",
        train_rows=100,
        version=1,
        features=features or {"labels": 2.0},
        embedding=(0.5, -1.0),
    )
