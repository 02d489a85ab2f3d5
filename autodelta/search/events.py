"""What a search says while it runs: plain data, for a live display, plain lines, or a test."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import Field

from autodelta.frozen import Frozen
from autodelta.search.records import TrialRecord


class Event(Frozen):
    """Anything that happened. ``str(event)`` is one line for a log."""


class SearchStarted(Event):
    """The run's folder is there; trials may start."""

    path: Path
    budget: str
    workers: int
    ended: dict[str, int] = Field(default_factory=dict)  # trials before, by how they did; none in a new search

    def __str__(self) -> str:
        return f"search in {self.path}: budget {self.budget}, workers {self.workers}"


class Notice(Event):
    """Something the user should know, such as the dashboard's address."""

    text: str

    def __str__(self) -> str:
        return self.text


class TrialStarted(Event):
    """A worker got a trial."""

    number: int
    methods: tuple[str, ...]
    parameters: int
    steps: int  # that the trial will train
    seed: int
    continues: int | None = None  # the stopped trial that it goes on with

    def __str__(self) -> str:
        how = "started" if self.continues is None else f"goes on with trial {self.continues}"
        return f"trial {self.number} {how}: {'+'.join(self.methods)}, {self.parameters:,} parameters"


class TrialReported(Event):
    """A trial was evaluated on validation."""

    number: int
    step: int
    steps: int
    score: float
    train_loss: float

    def __str__(self) -> str:
        return f"trial {self.number} step {self.step}/{self.steps}: score {self.score:.4f}, loss {self.train_loss:.4f}"


class TrialEnded(Event):
    """A trial ended, or was infeasible before it started."""

    trial: TrialRecord

    def __str__(self) -> str:
        score = "" if self.trial.score is None else f", score {self.trial.score:.4f}"
        reason = f" ({self.trial.reason})" if self.trial.reason else ""
        return f"trial {self.trial.number} {self.trial.state}{score}{reason}"


class BestChanged(Event):
    """A trial has the best score so far."""

    trial: TrialRecord

    def __str__(self) -> str:
        return f"best so far: trial {self.trial.number}, score {self.trial.score or 0:.4f}"


class BudgetSpent(Event):
    """How the budget stands; comes about once a second. ``budget`` is as in `show --json`."""

    budget: dict[str, Any]
    share: float  # spent, 0 to 1
    seconds_left: float | None  # until the search ends, where that is known

    def __str__(self) -> str:
        return f"budget: {self.share:.0%} spent"


class EntrantConfirmed(Event):
    """A candidate was trained again at a fresh seed; ``score``: on validation, None if it did not come to its end."""

    entrant: str
    seeds: int  # so far
    score: float | None

    def __str__(self) -> str:
        score = "did not come to its end" if self.score is None else f"{self.score:.4f}"
        return f"confirmation of {self.entrant}, seed {self.seeds}: {score}"


class Answered(Event):
    """What came out, in plain sentences."""

    lines: tuple[str, ...]

    def __str__(self) -> str:
        return "; ".join(self.lines)


class SearchEnded(Event):
    """Nothing runs any more. ``reason``: budget, finished (nothing left to try), interrupted, or that another trial
    is not worth its cost."""

    reason: str
    trials: int

    def __str__(self) -> str:
        return f"search ended ({self.reason}) after {self.trials} trial{'s' if self.trials != 1 else ''}"


Listener = Callable[[Event], None]
