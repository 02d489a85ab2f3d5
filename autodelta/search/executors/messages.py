"""What the `processes` executor and its children say to each other, besides orders, reports and outcomes."""

from pydantic import BaseModel, ConfigDict


class Message(BaseModel):
    """Something that parent and child say to each other."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Ready(Message):
    """The backbone is loaded."""


class Broken(Message):
    """The worker could not be opened."""

    text: str
    traceback: str
    by_user: bool  # a mistake in what the user asked for
