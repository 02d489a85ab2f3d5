"""Which genes decide how well a trial does: PED-ANOVA, at every rung, from the candidates and their curves alone.

PED-ANOVA (Watanabe et al. 2023, arXiv:2304.10255) compares how a gene is distributed among the best trials, q, with how
it is among all, p. A gene that only some trials have (the rank of a LoRA that may be off) is judged among these; with a
and b their shares of the best and of all trials (as Optuna 5 does, after arXiv:2601.20800),

    importance = a^2 / b sum_c p_c (q_c / p_c - 1)^2.

Departure: p and q are histograms, of a few bins with equally many trials where the gene is a number. Optuna's
evaluator smooths the two with kernels, which for a gene of two values is so strong that a method which all of the best
trials have came out below chance. What is stated is above what is left when the scores of the trials that have the gene
are dealt out anew, with the p-value of that permutation test.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from autodelta.candidate import Candidate
from autodelta.frozen import Frozen

LEAST = 20  # trials at a rung
BEST = 0.2  # the share of trials that count as the best
BINS = 4
PRIOR = 1.0  # trials' worth of p that is mixed into q
SHUFFLES = 499
SURE = 0.01  # a p-value at which a gene is said to matter: some twenty genes are looked at
Value = bool | int | float | str | None
Kind = Literal["method", "roles", "depth", "size", "learning rate", "training"]


class Point(Protocol):
    """An evaluation: of a report, or of a record."""

    @property
    def step(self) -> int: ...

    @property
    def score(self) -> float: ...


class Trial(Protocol):
    """A trial of a search, or a record of a table."""

    @property
    def candidate(self) -> Candidate | None: ...

    @property
    def curve(self) -> Sequence[Point]: ...


class Importance(Frozen):
    """How much one gene decides at one rung."""

    gene: str  # "lora", "lora roles", "lora rank", "steps"
    kind: Kind
    value: float  # above what chance gives on average; without a unit
    p: float  # how often dealt-out scores give as much

    @property
    def matters(self) -> bool:
        """Whether it is hardly chance."""
        return self.p <= SURE


class Rung(Frozen):
    """The genes at one step, the most important first."""

    step: int
    trials: int
    genes: tuple[Importance, ...]


def rungs(trials: Iterable[Trial]) -> dict[int, list[tuple[Candidate, float]]]:
    """What was scored at every step at which enough trials were, by step; of a candidate's repeats each counts."""
    found: dict[int, list[tuple[Candidate, float]]] = defaultdict(list)
    for trial in trials:
        for point in trial.curve:
            if trial.candidate is not None and math.isfinite(point.score):
                found[point.step].append((trial.candidate, point.score))
    return {step: found[step] for step in sorted(found) if len(found[step]) >= LEAST}


def importance(step: int, scored: Sequence[tuple[Candidate, float]], *, seed: int = 0) -> Rung:
    """How much each gene decides who is among the best fifth at a step. Genes that never vary are left out."""
    rows = [genes(candidate) for candidate, _ in scored]
    kinds = {gene: kind for row in rows for gene, (kind, _) in row.items()}
    columns = {gene: _coded([row[gene][1] if gene in row else None for row in rows], kinds[gene]) for gene in kinds}
    best = _best(np.array([score for _, score in scored]))
    rng = np.random.default_rng([seed, step])
    found = []
    for gene, codes in columns.items():
        if codes.max() < 1:
            continue
        active = codes >= 0
        dealt = rng.permuted(np.tile(best[active], (SHUFFLES, 1)), axis=1)
        value, *chance = _divergence(codes[active], np.vstack([best[active], dealt]))
        scale = (best[active].sum() / best.sum()) ** 2 / active.mean()
        above = scale * float(value - np.mean(chance))
        p = (1 + sum(one >= value - 1e-12 for one in chance)) / (1 + SHUFFLES)
        found.append(Importance(gene=gene, kind=kinds[gene], value=max(0.0, above), p=p))
    return Rung(step=step, trials=len(scored), genes=tuple(sorted(found, key=lambda one: (-one.value, one.gene))))


def genes(candidate: Candidate) -> dict[str, tuple[Kind, Value]]:
    """What a candidate is made of, by name: its methods, and what each of them is at; its training settings."""
    found: dict[str, tuple[Kind, Value]] = {}
    for delta in candidate.deltas:
        name = delta.method
        found[name] = ("method", True)
        found[f"{name} roles"] = ("roles", delta.where)
        found[f"{name} depth"] = ("depth", f"{_blocks(delta.encoder_blocks)} / {_blocks(delta.decoder_blocks)}")
        found[f"{name} learning rate"] = ("learning rate", delta.learning_rate)
        for size, value in delta.config:
            found[f"{name} {size}"] = ("size", value)
    for setting, value in candidate.training:
        found[setting] = ("training", value)
    return found


def _blocks(chosen: tuple[int, ...] | None) -> str:
    return "all" if chosen is None else ",".join(map(str, chosen)) or "none"


def _best(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """(trials,) 1 for the best fifth; those that tie at its end share what is left of it."""
    size = max(1, math.ceil(BEST * len(scores)))
    last = np.sort(scores)[-size]
    above, at = scores > last, scores == last
    return np.where(above, 1.0, np.where(at, (size - above.sum()) / at.sum(), 0.0))


def _coded(values: Sequence[Value], kind: Kind) -> NDArray[np.int64]:
    """(trials,) the value's number, of a number its bin's; -1 where the trial has no such gene.

    A method is on or off, so every trial has it.
    """
    if kind == "method":
        return np.array([int(value is not None) for value in values])
    known = [value for value in values if value is not None]
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in known):
        numbers = np.array([np.nan if value is None else float(value) for value in values])
        edges = np.unique(np.nanquantile(numbers, np.arange(1, BINS) / BINS))
        codes = np.searchsorted(edges, numbers, side="right")
        used = np.unique(codes[~np.isnan(numbers)])
        return np.where(np.isnan(numbers), -1, np.searchsorted(used, codes))
    order = sorted(set(known), key=str)
    return np.array([-1 if value is None else order.index(value) for value in values])


def _divergence(codes: NDArray[np.int64], best: NDArray[np.float64]) -> NDArray[np.float64]:
    """(deals,) sum_c p_c (q_c / p_c - 1)^2 among the trials that have a gene, for each way to deal out the best.

    codes: (trials,), best: (deals, trials).
    """
    values = np.eye(codes.max() + 1)[codes]  # (trials, values)
    p = values.mean(0)
    counts = best @ values  # (deals, values)
    q = (counts + PRIOR * p) / (counts.sum(1, keepdims=True) + PRIOR)
    found: NDArray[np.float64] = (p * (q / p - 1) ** 2).sum(1)
    return found
