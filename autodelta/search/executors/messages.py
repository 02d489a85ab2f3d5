"""What workers in processes of their own say to the executor, besides orders."""

import traceback
from typing import Self

from autodelta.engine.report import Report
from autodelta.errors import UserError
from autodelta.frozen import Frozen
from autodelta.search.records import Outcome


class Message(Frozen):
    """Something that a worker says."""


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
    """The worker could not be opened, or failed outside of any order."""

    text: str
    traceback: str
    by_user: bool  # a mistake in what the user asked for

    @classmethod
    def of(cls, error: BaseException) -> Self:
        """What the error that is being handled comes to."""
        return cls(text=str(error), traceback=traceback.format_exc(), by_user=isinstance(error, UserError))

    def error(self) -> Exception:
        """What it means to the search."""
        return UserError(self.text) if self.by_user else RuntimeError(f"a worker failed:\n{self.traceback}")
