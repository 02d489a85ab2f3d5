"""The display while a search runs: a live panel in a terminal, plain lines elsewhere."""

import time
from collections import deque
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from autodelta.report.tables import STATE_STYLES, duration, shortened
from autodelta.search.events import (
    BestChanged,
    BudgetSpent,
    EntrantConfirmed,
    Event,
    Notice,
    SearchEnded,
    SearchStarted,
    TrialEnded,
    TrialReported,
    TrialStarted,
)
from autodelta.search.records import TrialRecord

RECENT = 6


class PlainLines:
    """One line an event that a log should hold; for pipes, files and CI."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.end_reason = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def __call__(self, event: Event) -> None:
        if isinstance(event, SearchEnded):
            self.end_reason = event.reason
        if not isinstance(event, BudgetSpent | TrialReported):
            self.console.print(str(event), highlight=False, markup=False, soft_wrap=True)


class LivePanel:
    """Budget, running trials with step and score, the best so far, and how the last trials ended."""

    def __init__(self, console: Console) -> None:
        self.title = Text("autodelta search", style="bold")
        self.share = 0.0
        self.budget = ""
        self.ends_at: float | None = None
        self.running: dict[int, tuple[TrialStarted, TrialReported | None]] = {}
        self.ended: deque[TrialRecord] = deque(maxlen=RECENT)
        self.counts: dict[str, int] = {}
        self.best: TrialRecord | None = None
        self.end_reason = ""
        self.console = console
        self.live = Live(console=console, get_renderable=self.render, refresh_per_second=4, transient=True)

    def __enter__(self) -> Self:
        self.live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.live.stop()

    def __call__(self, event: Event) -> None:
        match event:
            case SearchStarted():
                self.budget = event.budget
                self.best, self.counts = None, dict(event.ended)  # not of the search before, in a study of several
                self.running.clear()
                self.ended.clear()
                workers = f"{event.workers} worker{'s' if event.workers > 1 else ''}"
                self.title = Text.assemble(("autodelta search ", "bold"), f"{event.path.name}, {workers}")
            case Notice() | SearchEnded() | EntrantConfirmed():
                self.console.print(str(event), highlight=False, markup=False)
                self.end_reason = event.reason if isinstance(event, SearchEnded) else self.end_reason
            case TrialStarted():
                self.running[event.number] = (event, None)
            case TrialReported():
                if event.number in self.running:
                    self.running[event.number] = (self.running[event.number][0], event)
            case TrialEnded():
                self.running.pop(event.trial.number, None)
                self.ended.append(event.trial)
                self.counts[event.trial.state] = self.counts.get(event.trial.state, 0) + 1
            case BestChanged():
                self.best = event.trial
            case BudgetSpent():
                self.share = event.share
                self.ends_at = None if event.seconds_left is None else time.monotonic() + event.seconds_left

    def render(self) -> Group:
        """The panel as it stands now."""
        return Group(self.title, *self._budget_lines(), *self._best_lines(), self._trials())

    def _budget_lines(self) -> list[Table]:
        if not self.budget:  # no search has begun yet
            return []
        line = Table.grid(padding=(0, 1))
        left = "" if self.ends_at is None else f"{duration(max(0.0, self.ends_at - time.monotonic()))} left"
        counts = ", ".join(f"{count} {state}" for state, count in self.counts.items()) or "no trial ended yet"
        bar = ProgressBar(total=1.0, completed=self.share, width=30)
        line.add_row(bar, f"{self.share:.0%} of {self.budget}", left, Text(counts, style="dim"))
        return [line]

    def _best_lines(self) -> list[Text]:
        if self.best is None or self.best.score is None:
            return []
        return [
            Text.assemble(
                "best so far: ",
                (f"{self.best.score:.4f} ", "bold green"),
                f"trial {self.best.number}, {' + '.join(self.best.methods)}, {self.best.parameters:,} parameters",
            )
        ]

    def _trials(self) -> Table:
        table = Table(box=None, pad_edge=False, header_style="dim")
        for column in ("trial", "state", "methods"):
            table.add_column(column)
        for column in ("parameters", "step", "score"):
            table.add_column(column, justify="right")
        for trial in self.ended:
            score = "" if trial.score is None else f"{trial.score:.4f}"
            cells = (str(trial.number), trial.state, "+".join(trial.methods), f"{trial.parameters:,}", str(trial.step))
            note = Text(shortened(trial.reason, 40), style="dim") if trial.score is None else Text(score)
            table.add_row(*cells, note, style=STATE_STYLES.get(trial.state, ""))
        for started, report in self.running.values():
            step = 0 if report is None else report.step
            score = "" if report is None else f"{report.score:.4f}"
            methods = "+".join(started.methods)
            row = (str(started.number), "running", methods, f"{started.parameters:,}", f"{step}/{started.steps}", score)
            table.add_row(*row, style="cyan")
        return table


def display(console: Console) -> PlainLines | LivePanel:
    """The display that suits where the output goes."""
    return LivePanel(console) if console.is_terminal else PlainLines(console)
