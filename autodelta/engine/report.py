"""What a trial says of itself at each evaluation."""

from typing import Any

from pydantic import model_validator

from autodelta.frozen import Frozen


class Report(Frozen):
    """A trial's score so far; reports of one trial come with rising steps, the last one marked done."""

    step: int  # counted from the trial's start, also in a trial that goes on from a checkpoint
    score: float  # validation, the task's metric
    log_loss: float | None = None  # validation, of the right label among all labels, nats a row; of free texts, a token
    train_loss: float  # mean since the last report, nats a target token; over labels alone: nats a row
    device_seconds: float  # spent in the trial so far; of one in a pack, what it would have taken alone
    held_seconds: float = 0.0  # that the device was held for it so far: its share of a pack's; not said: as if alone
    evaluation_seconds: float = 0.0  # the part of them that went into evaluations
    memory_bytes: int = 0  # peak so far
    micro_batch: int = 0  # rows that go through the backbone at once
    done: bool

    @model_validator(mode="before")
    @classmethod
    def _alone(cls, given: Any) -> Any:
        return {"held_seconds": given.get("device_seconds"), **given} if isinstance(given, dict) else given


class Scored(Frozen):
    """A split, scored: the task's metric, and the label predicted for each row, in the order of the rows."""

    score: float
    log_loss: float | None = None  # of the right label among all labels, nats a row; of free texts, a token
    predictions: tuple[str, ...]
