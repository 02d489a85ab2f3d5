"""What the `processes` executor and its children say to each other, besides orders."""

from pydantic import BaseModel, ConfigDict

from autodelta.engine.report import Report
from autodelta.search.records import Outcome


class Message(BaseModel):
    """Something that a child says to its parent."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Free(Message):
    """The worker is open, or open again, for an order: at once if it is at none, else beside those that it is at."""


class Reported(Message):
    """An order has reported; the answer is whether it is to go on."""

    number: int
    report: Report


class Ended(Message):
    """An order has ended; there is no answer."""

    number: int
    outcome: Outcome


class Broken(Message):
    """The worker could not be opened."""

    text: str
    traceback: str
    by_user: bool  # a mistake in what the user asked for
