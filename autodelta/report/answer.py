"""An answer in a terminal: what every confirmed entrant reached, with its seeds; the sentences are search.answer's."""

from rich.table import Table

from autodelta.report.tables import rows
from autodelta.search.answer import Answer


def standings(answer: Answer) -> Table:
    """Every entrant that was trained again: the winner first, then by validation; baselines among the finalists."""
    confirmed = [one for one in answer.standings if one.seeds]
    confirmed.sort(key=lambda one: (one.name != answer.winner, one.validation is None, -(one.validation or 0.0)))
    lines = []
    for one in confirmed:
        spread = f" ({min(one.test_scores):.3f} to {max(one.test_scores):.3f})" if len(one.test_scores) > 1 else ""
        remarks = [
            *(["winner"] if one.name == answer.winner else []),
            *(["ties"] if one.name in answer.tied and one.name != answer.winner else []),
            *(["exported"] if one.name == answer.export else []),
            *([one.failure] if one.failure else []),
        ]
        lines.append(
            (
                one.name,
                f"{one.parameters:,}",
                str(len(one.seeds)),
                "" if one.validation is None else f"{one.validation:.4f}",
                "" if one.test is None else f"{one.test:.4f}{spread}",
                ", ".join(remarks),
            )
        )
    title = f"Confirmed over seeds ({answer.metric}, means)"
    table = rows(title, ("candidate", "parameters", "seeds", "validation", "test", ""), lines)
    table.caption, table.caption_justify = "in brackets: the lowest and the highest of its seeds", "left"
    return table
