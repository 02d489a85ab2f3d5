"""A suggestion in a terminal: the predicted front, the tasks that it stands on, and what mattered."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table

from autodelta.report.tables import duration, rows

Found = Mapping[str, Any]


def tables(found: Found) -> Iterator[Table]:
    """The front, and the nearest recorded tasks. ``found`` is what ``suggest --json`` prints."""
    lines = [
        (
            f"{one['number']}{'*' if one['number'] == found['pick'] else ''}",
            " + ".join(one["methods"]),
            f"{one['parameters']:,}",
            f"{one['score']:.3f}",
            f"{one['low']:.3f} to {one['high']:.3f}",
            "" if one["device_seconds"] is None else duration(one["device_seconds"]),
            "" if one["memory_bytes"] is None else f"{one['memory_bytes'] / 1e6:,.0f} MB",
        )
        for one in found["front"]
    ]
    columns = ("", "methods", "parameters", found["metric"], f"{found['share']:.0%} interval", "one trial", "memory")
    table = rows(f"Predicted for {found['task']} on {found['backbone']} (validation, one seed)", columns, lines)
    table.caption = "* suggested; cost as on the machines of the records"
    table.caption_justify = "left"
    yield table
    if found["nearest"]:
        columns = ("nearest task", "kind", "train rows", "distance", "best there", "parameters", "score")
        table = rows("Recorded tasks that it is most like", columns, [_near(near) for near in found["nearest"]])
        table.caption, table.caption_justify = "distance 1: as far apart as recorded tasks usually are", "left"
        yield table


def sentences(found: Found) -> list[str]:
    """What mattered, and what else is to be known, a line each."""
    trials = "" if found["trials"] is None else f" and {found['trials']:,} trials"
    return [
        f"learned from {found['tasks']} tasks{trials}; nothing was trained for this",
        *(["what matters:", *(f"  {one['words']}" for one in found["mattered"])] if found["mattered"] else []),
        *(f"note: {note}" for note in found["notes"]),
    ]


def _near(near: Found) -> tuple[str, ...]:
    best = near["best"]
    end = (
        ("", "", "")
        if best is None
        else (" + ".join(best["methods"]), f"{best['parameters']:,}", f"{best['score']:.3f}")
    )
    return (near["task"], near["kind"], f"{near['train_rows']:,}", f"{near['distance']:.2f}", *end)
