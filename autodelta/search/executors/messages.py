"""What the `processes` executor and its children say to each other, besides orders, reports and outcomes."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from autodelta.candidate import Candidate


class Message(BaseModel):
    """Something that parent and child say to each other."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Ready(Message):
    """The backbone is loaded."""


class Broken(Message):
    """The worker could not be opened, or could not score."""

    text: str
    traceback: str
    by_user: bool  # a mistake in what the user asked for


class Score(Message):
    """Score these weights on a split; answered by ``Scored``."""

    candidate: Candidate
    weights: Path
    split: str


class Scored(Message):
    """The score that was asked for."""

    score: float
