"""What decides in the model's eyes: which genes part the best of many foretold compositions from the rest."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from autodelta.candidate import Candidate
from autodelta.frozen import Frozen
from autodelta.search.importance import BEST, Kind, Value, genes, importance

SHOWN = 5
LEAST = 20  # of the best, or of all, that must have a gene


class Mattered(Frozen):
    """One gene, and where the best have it."""

    gene: str
    kind: Kind
    value: float  # PED-ANOVA, as in ``show --interactions``
    words: str


def mattered(candidates: Sequence[Candidate], scores: NDArray[np.float64]) -> tuple[Mattered, ...]:
    """The genes that matter most for what is foretold of candidates drawn from a space."""
    if len(candidates) < LEAST:
        return ()
    ranked = importance(0, [(one, float(score)) for one, score in zip(candidates, scores, strict=True)])
    rows = [genes(one) for one in candidates]
    best = np.argsort(-scores, kind="stable")[: max(1, round(BEST * len(rows)))]
    found = []
    for gene in ranked.genes:
        every = [row[gene.gene][1] if gene.gene in row else None for row in rows]
        words = _words(gene.gene, gene.kind, every, [every[row] for row in best])
        if gene.matters and words:
            found.append(Mattered(gene=gene.gene, kind=gene.kind, value=gene.value, words=words))
    return tuple(found[:SHOWN])


def _words(gene: str, kind: Kind, every: Sequence[Value], best: Sequence[Value]) -> str:
    """How the best fifth differs from all; nothing where too few of them have the gene."""
    if kind == "method":
        share, usual = (sum(value is not None for value in part) / len(part) for part in (best, every))
        return f"{gene} in {share:.0%} of the best, {usual:.0%} of all"
    among, known = ([value for value in part if value is not None] for part in (best, every))
    if len(known) < LEAST or len(among) < LEAST // 4:
        return ""
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in known):
        middle, usual = (float(np.median(np.array(part, dtype=float))) for part in (among, known))
        return f"{gene} about {middle:.3g} in the best, {usual:.3g} in all"
    shares = {value: among.count(value) / len(among) - known.count(value) / len(known) for value in set(known)}
    liked = max(sorted(shares, key=str), key=lambda value: shares[value])
    share, usual = among.count(liked) / len(among), known.count(liked) / len(known)
    return f"{gene} {liked} in {share:.0%} of the best, {usual:.0%} of all"
