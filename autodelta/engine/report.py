"""What a trial says of itself at each evaluation."""

from pydantic import BaseModel, ConfigDict


class Report(BaseModel):
    """A trial's score so far; reports of one trial come with rising steps, the last one marked done."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: int
    score: float  # validation, the task's metric
    train_loss: float  # mean since the last report, nats a target token
    device_seconds: float  # spent in the trial so far
    done: bool
