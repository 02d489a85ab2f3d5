"""Importances and pairs of methods in a terminal."""

from rich.table import Table

from autodelta.report.tables import rows
from autodelta.search.importance import LEAST
from autodelta.search.interactions import Effect, Interactions, Pair

SHOWN = 12


def tables(found: Interactions) -> list[Table]:
    """One table of genes over rungs and one of pairs; none where there were too few trials."""
    return [*([_genes(found)] if found.rungs else []), *([_pairs(found)] if found.pairs else [])]


def sentences(found: Interactions) -> list[str]:
    """What is beyond noise, a line each; or that nothing is."""
    if not found.rungs:
        return [f"{found.trials} trials are too few to say what matters: that takes {LEAST} that came to one step"]
    last = found.rungs[-1]
    sure = [gene.gene for gene in last.genes if gene.matters]
    lines = [f"what decides who is among the best at step {last.step}: {', '.join(sure) or 'nothing beyond chance'}"]
    for pair in found.pairs:
        if pair.gain is not None and pair.verdict in ("help", "hurt"):
            both = " and ".join(pair.methods)
            lines.append(f"{both} {pair.verdict} each other: {_points(pair.gain)} points against the better one alone")
    said = len(lines) > 1
    unknown = sum(pair.gain is None for pair in found.pairs)
    if found.pairs and not said:
        lines.append("no pair of methods is known to help or hurt")
    if unknown:
        lines.append(f"{unknown} of {len(found.pairs)} pairs: too few trials to say")
    return lines


def _genes(found: Interactions) -> Table:
    """The genes that matter most at the last rung, with their importance at each."""
    order = [gene.gene for gene in found.rungs[-1].genes]
    order += [gene.gene for rung in found.rungs for gene in rung.genes if gene.gene not in order]
    cells = {(rung.step, gene.gene): gene for rung in found.rungs for gene in rung.genes}
    lines = []
    for name in list(dict.fromkeys(order))[:SHOWN]:
        values = [cells.get((rung.step, name)) for rung in found.rungs]
        kind = next(value.kind for value in values if value is not None)
        own = ["" if value is None else f"{value.value:.2f}{'*' if value.matters else ''}" for value in values]
        lines.append((name, kind, *own))
    columns = [f"step {rung.step} ({rung.trials} trials)" for rung in found.rungs]
    table = rows("What decides who is among the best fifth (PED-ANOVA)", ("gene", "kind", *columns), lines)
    table.caption, table.caption_justify = "* hardly chance (p <= 0.01)", "left"
    return table


def _pairs(found: Interactions) -> Table:
    lines = [
        (
            " + ".join(pair.methods),
            str(pair.trials),
            "" if pair.gain is None else _points(pair.gain),
            "" if pair.effect is None else _points(pair.effect),
            _said(pair),
        )
        for pair in found.pairs
    ]
    columns = ("pair", "trials", "gain over the better alone", "against pairs in general", "")
    table = rows(f"Pairs of methods, points of the score at step {found.step}", columns, lines)
    reached = f"{found.compared} of {found.trials} trials came so far"
    table.caption = f"{reached}; in brackets {found.level:.0%} intervals, each by itself"
    table.caption_justify = "left"
    return table


def _points(effect: Effect) -> str:
    return f"{100 * effect.mean:+.1f} ({100 * effect.low:+.1f} to {100 * effect.high:+.1f})"


def _said(pair: Pair) -> str:
    return {"help": "help each other", "hurt": "hurt each other"}.get(pair.verdict, pair.verdict)
