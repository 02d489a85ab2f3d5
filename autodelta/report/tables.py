"""Tables in a terminal: the leaderboard and front of a run, the tasks at hand, the spaces."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Column, Table

from autodelta.search.records import BUDGET

STATE_STYLES = {"complete": "", "pruned": "yellow", "infeasible": "dim", "failed": "red", "running": "cyan"}
WRONG = ("infeasible", "failed")
WORDS = {"running": "under way"}  # perhaps in a search that was stopped
SHOWN = 20


def duration(seconds: float) -> str:
    """Seconds as people say them: 45 s, 12 min 30 s, 3 h 05 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def shortened(text: str, length: int) -> str:
    """The text on one line, cut where it is longer."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1] + "…"


class Fitted(Table):
    """A table no wider than the terminal, whose lines break between words: the widest column gives way first, or before
    all others one that is cut, and at last the space beside the borders. Without rows there is none."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if not self.rows:
            return
        room = options.max_width - len(self.columns) - 1  # without borders
        widths = _widths(self.columns, room - 2 * len(self.columns))
        if sum(widths) > room - 2 * len(self.columns):  # words would be cut: rather no space beside the borders
            self.padding = (0, 0)
            widths = _widths(self.columns, room)
        for column, width in zip(self.columns, widths, strict=True):
            column.width = width
        yield from super().__rich_console__(console, options)


def _widths(columns: Sequence[Column], room: int) -> list[int]:
    """Of each column its longest line where there is room, and no less than its longest word; of one that is cut, the
    longest of the words that lines begin with."""
    texts = [[str(column.header), *map(str, column.cells)] for column in columns]
    widths = [max(map(len, own)) for own in texts]
    least = [
        max((len(word) for text in own for word in text.split()[: 1 if column.no_wrap else None]), default=1)
        for own, column in zip(texts, columns, strict=True)
    ]
    while sum(widths) > room:
        wider = [place for place, width in enumerate(widths) if width > least[place]]
        if not wider:
            break
        widths[max(wider, key=lambda place: (columns[place].no_wrap, widths[place]))] -= 1
    return widths


def leaderboard(summary: Mapping[str, Any]) -> Table:
    """The best trials first, then those without a score. ``summary`` is what ``show --json`` prints."""
    trials = sorted(summary["trials"], key=_rank)
    front = {trial["number"] for trial in summary["front"]}
    more = f", {SHOWN} of {len(trials)}" if len(trials) > SHOWN else ""
    table = Fitted(title=f"Leaderboard (validation{more})", title_justify="left", header_style="bold")
    for column in ("trial", "methods"):
        table.add_column(column)
    for column in ("score", "parameters", "step", "device-s"):
        table.add_column(column, justify="right")
    table.add_column("state", no_wrap=True, overflow="ellipsis")  # a trial is one line; the reason is cut
    for trial in trials[:SHOWN]:
        state = trial["state"] + (f": {shortened(trial['reason'], 48)}" if trial["reason"] else "")
        table.add_row(
            f"{trial['number']}{'*' if trial['number'] in front else ''}",
            " + ".join(trial["methods"]),
            "" if trial["score"] is None else f"{trial['score']:.4f}",
            f"{trial['parameters']:,}",
            str(trial["step"]),
            f"{trial['device_seconds']:.1f}",
            state,
            style=STATE_STYLES.get(trial["state"], ""),
        )
    table.caption = "* on the Pareto front of score and trainable parameters"
    table.caption_justify = "left"
    return table


def _rank(trial: Mapping[str, Any]) -> tuple[bool, bool, float, int]:
    """Finished trials before unfinished ones, each by score."""
    score = trial["score"]
    return (trial["state"] != "complete", score is None, -(score or 0.0), trial["number"])


def front(summary: Mapping[str, Any]) -> Table:
    """The Pareto front, from the smallest composition to the best."""
    table = Fitted(title="Pareto front", title_justify="left", header_style="bold")
    for column in ("parameters", "score"):
        table.add_column(column, justify="right")
    for column in ("trial", "methods"):
        table.add_column(column)
    for trial in sorted(summary["front"], key=lambda trial: trial["parameters"]):
        methods = " + ".join(trial["methods"])
        table.add_row(f"{trial['parameters']:,}", f"{trial['score']:.4f}", str(trial["number"]), methods)
    return table


def conclusion(summary: Mapping[str, Any]) -> list[str]:
    """What came out and what was spent, a line each."""
    found = []
    best, budget = summary["best"], summary["budget"]
    if summary["lines"]:
        found += ["answer:", *(f"  {line}" for line in summary["lines"])]
    elif best is None:
        found.append("no trial has finished")
    else:
        methods = " + ".join(best["methods"])
        found.append(
            f"best: trial {best['number']}, {methods}, {best['parameters']:,} parameters, "
            f"validation {best['score']:.4f} at one seed, not confirmed yet"
        )
    if summary["trials"]:
        uncounted = _uncounted(summary["trials"], budget["spent"]["trials"])
        found.append(f"trials: {', '.join(_states(summary['trials']))}{uncounted}")
    if summary["ended_early"]:
        found.append(f"ended before its budget: {summary['ended_early']}")
    kinds = ", ".join(f"{kind} {duration(seconds)}" for kind, seconds in budget["by_kind"].items() if seconds >= 0.5)
    return [*found, used(budget, f" ({kinds})" if kinds else "")]


def used(budget: Mapping[str, Any], on: str = "") -> str:
    """What was spent of a budget, and on what."""
    spent = budget["spent"]
    trials = "1 trial" if spent["trials"] == 1 else f"{spent['trials']} trials"
    times = f"{duration(spent['wall_seconds'])}, {duration(spent['device_seconds'])} of workers' time{on}"
    return f"spent: {times}, {trials}; budget: {budget['text']}"


def _states(trials: Sequence[Mapping[str, Any]]) -> list[str]:
    """How many trials ended how, and the first of those that went wrong: they stand below the best, where a long table
    is cut."""
    found = []
    never = [trial for trial in trials if _refused(trial)]
    for state in STATE_STYLES:
        there = [trial for trial in trials if trial["state"] == state and not _refused(trial)]
        if there:
            first = f" (trial {there[0]['number']}: {shortened(there[0]['reason'], 60)})"
            found.append(f"{len(there)} {WORDS.get(state, state)}{first if state in WRONG else ''}")
    return found + ([f"{len(never)} that the budget did not allow"] if never else [])


def _uncounted(trials: Sequence[Mapping[str, Any]], counted: int) -> str:
    """Why the budget counts fewer trials than there are."""
    again = sum(trial["continues"] is not None for trial in trials)
    untrained = len(trials) - counted - again
    why = [f"{again} {'goes on with an earlier one' if again == 1 else 'go on with earlier ones'}"] if again else []
    why += [f"{untrained} {'was' if untrained == 1 else 'were'} never trained"] if untrained else []
    return f"; {counted} count for the budget, as {' and '.join(why)}" if why else ""


def _refused(trial: Mapping[str, Any]) -> bool:
    """Whether the budget held not even its first report."""
    return bool(trial["state"] == "pruned" and not trial["step"] and trial["reason"].startswith(BUDGET))


def rows(title: str, columns: Sequence[str], lines: Sequence[Sequence[str]]) -> Table:
    """A plain table."""
    table = Fitted(title=title, title_justify="left", header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for line in lines:
        table.add_row(*line)
    return table
