"""A size study in a terminal: the recommendation at each train size, and every winner at every size."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from autodelta.report.tables import rows, used

Found = Mapping[str, Any]


def recommendations(summary: Found) -> Table:
    """A line for each train size. ``summary`` is what ``show --json`` prints of a study."""
    answer = summary["answer"]
    winners = {winner["name"]: winner for winner in answer["winners"]}
    lines = []
    for size in answer["sizes"]:
        name = size["recommended"]
        cell = _cell(answer, name, size["rows"])
        lines.append(
            (
                f"{size['rows']:,}",
                name or "nothing: no trial came to its end",
                f"{winners[name]['parameters']:,}" if name else "",
                _mean(cell and cell["validation"]),
                _mean(cell and cell["test"]),
                ", ".join(other for other in size["tied"] if other != name),
                size["best"] or "",
            )
        )
    title = f"By labelled data ({answer['metric']}, mean ± s.d. over seeds)"
    columns = ("train rows", "recommended", "parameters", "validation", "test", "it ties with", "best of its search")
    table = rows(title, columns, lines)
    table.caption = "recommended: of the winners of all sizes, the smallest that ties with the best on validation"
    table.caption_justify = "left"
    return table


def matrix(summary: Found) -> Table:
    """Every winner at every train size, by its test scores."""
    answer = summary["answer"]
    sizes = [size["rows"] for size in answer["sizes"]]
    lines = [
        (winner["name"], *(_mean((_cell(answer, winner["name"], size) or {}).get("test")) for size in sizes))
        for winner in answer["winners"]
    ]
    title = f"Winners at every train size (test {answer['metric']}, mean ± s.d. over seeds)"
    return rows(title, ("winner", *(f"{size:,} rows" for size in sizes)), lines)


def conclusion(summary: Found) -> list[str]:
    """What came out, and what was spent, a line each."""
    return ["answer:", *(f"  {line}" for line in summary["lines"]), used(summary["budget"])]


def places(summary: Found) -> list[str]:
    """Where the runs lie, a line each."""
    return [f"run with {int(size):,} rows: {path}" for size, path in summary["runs"].items()]


def _cell(answer: Found, winner: str | None, size: int) -> Found | None:
    return next((cell for cell in answer["cells"] if (cell["winner"], cell["rows"]) == (winner, size)), None)


def _mean(found: Found | None) -> str:
    """As 0.712 ± 0.013 (3)."""
    if found is None:
        return ""
    spread = "" if found["sd"] is None else f" ± {found['sd']:.3f}"
    return f"{found['mean']:.3f}{spread} ({found['seeds']})"
