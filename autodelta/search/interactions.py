"""Which genes matter in a search, and which pairs of methods help or hurt each other, from its finished trials.

Pairs: a linear model of the score at one rung, with a term for each method, one for each pair, one for three methods or
more, and as nuisance every method's learning rate (also squared) and sizes and the training's settings, all centred:

    score = c + sum_i m_i on_i + sum_ij p_ij on_i on_j + t [3 or more] + nuisance.

Two questions are answered. Does the pair beat the better of its two methods alone,

    gain = m_i + m_j + p_ij - max(m_i, m_j),

which singles and pairs decide whatever c is; each method stands at its best learning rate, or a pair, which has two to
get wrong, would be at a loss. And does it do better than pairs do in general: the difference in
differences p_ij less the mean over the pairs. By itself p_ij cannot be told from c, since there is no trial without a
method, and would be below zero for every pair where scores have a ceiling. Pair and nuisance terms are shrunk (ridge);
intervals are from a bootstrap over trials.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from autodelta.candidate import Candidate
from autodelta.frozen import Frozen
from autodelta.search.importance import LEAST, Rung, Trial, genes, importance, rungs

LEVEL = 0.9
RESAMPLES = 400
TOGETHER, ALONE = 5, 3  # trials with both methods, and with each of them and no other
RIDGE = 0.2  # in trials' worth of pull towards zero, where score and nuisance have a variance of 1
FREE = 1e-3
MARGIN = 0.1  # the share of learning rates at either end that are not believed to be best

Verdict = Literal["help", "hurt", "no clear difference", "too few trials"]


class Effect(Frozen):
    """An estimate with its interval."""

    mean: float
    low: float
    high: float


class Pair(Frozen):
    """Two methods together."""

    methods: tuple[str, str]
    trials: int  # with both of them
    gain: Effect | None = None  # over the better of the two alone; None: too few trials
    effect: Effect | None = None  # above what pairs do in general; None: too few trials or pairs

    @property
    def verdict(self) -> Verdict:
        """Whether the two help or hurt each other, beyond noise."""
        if self.gain is None:
            return "too few trials"
        if self.gain.low > 0:
            return "help"
        return "hurt" if self.gain.high < 0 else "no clear difference"


class Interactions(Frozen):
    """What finished trials say of genes and pairs; ``level`` is of each interval by itself."""

    trials: int  # that were scored at all
    step: int | None  # at which pairs were compared
    compared: int  # trials that reached it
    level: float
    rungs: tuple[Rung, ...]
    pairs: tuple[Pair, ...]


def interactions(trials: Iterable[Trial]) -> Interactions:
    """Importances at every rung that enough trials reached, and pairs at the last one that half of the trials reached.

    Trials that were stopped before are not in it; a later rung would leave out more of them, and those that remain are
    the good ones.
    """
    scored = [trial for trial in trials if trial.candidate is not None and trial.curve]
    found = rungs(scored)
    half = [step for step, rows in found.items() if 2 * len(rows) >= len(scored)]
    step = half[-1] if half else max(found, key=lambda step: len(found[step]), default=None)
    rows = found[step] if step is not None else []
    return Interactions(
        trials=len(scored),
        step=step,
        compared=len(rows),
        level=LEVEL,
        rungs=tuple(importance(number, own) for number, own in found.items()),
        pairs=pairs([candidate for candidate, _ in rows], [score for _, score in rows]),
    )


def pairs(candidates: Sequence[Candidate], scores: Sequence[float], *, seed: int = 0) -> tuple[Pair, ...]:
    """Every pair of methods that occurs, those with an estimate first, the greatest gain first."""
    together = Counter(pair for one in candidates for pair in combinations(sorted(one.methods), 2))
    alone = Counter(one.methods[0] for one in candidates if len(one.methods) == 1)
    known = [
        pair
        for pair in sorted(together)
        if together[pair] >= TOGETHER and all(alone[method] >= ALONE for method in pair) and len(candidates) >= LEAST
    ]
    found = []
    if known:
        model = _Model(candidates, sorted(together), known)
        estimates = _bootstrapped(model, np.array(scores), seed)
        effects = [_effect(column, wider=model.wider) for column in estimates.T]
        for pair, gain, effect in zip(known, effects[::2], effects[1::2], strict=True):
            general = effect if len(known) > 2 else None
            found.append(Pair(methods=pair, trials=together[pair], gain=gain, effect=general))
    found.sort(key=lambda pair: -pair.gain.mean if pair.gain else 0.0)
    return (*found, *(Pair(methods=pair, trials=together[pair]) for pair in sorted(together) if pair not in known))


class _Model:
    """The columns of the linear model, and what is read off its coefficients."""

    def __init__(
        self,
        candidates: Sequence[Candidate],
        together: Sequence[tuple[str, str]],
        known: Sequence[tuple[str, str]],
    ) -> None:
        self._methods = sorted({method for one in candidates for method in one.methods})
        on = np.array([[method in one.methods for method in self._methods] for one in candidates], dtype=float)
        place = {method: number for number, method in enumerate(self._methods)}
        both = [on[:, place[a]] * on[:, place[b]] for a, b in together]
        nuisance = _nuisance(candidates)
        self.columns = np.column_stack([np.ones(len(on)), on, *both, on.sum(1) > 2, *(n.column for n in nuisance)])
        free = 1 + len(self._methods)
        self.ridge = np.array([FREE] * free + [RIDGE] * (self.columns.shape[1] - free))
        self._known = [(place[a], place[b], free + list(together).index((a, b))) for a, b in known]
        self._rates = [
            (place[one.method], free + len(both) + 1 + number, one)
            for number, one in enumerate(nuisance)
            if one.method is not None and not one.square
        ]

    @property
    def wider(self) -> float:
        """By how much intervals are widened for the number of terms."""
        rows, terms = self.columns.shape
        return math.sqrt(rows / max(rows - terms, 1))

    def read(self, fitted: NDArray[np.float64]) -> NDArray[np.float64]:
        """(2 pairs,) gain and effect of every known pair in turn."""
        alone = fitted[1 : 1 + len(self._methods)].copy()
        for method, at, rate in self._rates:
            alone[method] += _best(fitted[at], fitted[at + 1], rate)
        terms = np.array([fitted[pair] for _, _, pair in self._known])
        gains = [min(alone[a], alone[b]) + term for (a, b, _), term in zip(self._known, terms, strict=True)]
        return np.column_stack([gains, terms - terms.mean()]).ravel()


class _Nuisance(NamedTuple):
    """One column of what is not asked about; of a learning rate its square stands next to it."""

    column: NDArray[np.float64]
    method: str | None = None  # whose learning rate it is
    square: bool = False
    mean_square: float = 0.0


def _nuisance(candidates: Sequence[Candidate]) -> list[_Nuisance]:
    """Numbers that differ between trials, their logarithms centred and scaled over the trials that have them, and 0
    elsewhere."""
    rows = [genes(candidate) for candidate in candidates]
    kinds = {gene: kind for row in rows for gene, (kind, _) in row.items()}
    found = []
    for gene, kind in sorted(kinds.items()):
        values = [row[gene][1] if gene in row else None for row in rows]
        known = np.array([isinstance(value, int | float) and not isinstance(value, bool) for value in values])
        numbers = np.array([float(value) for value, good in zip(values, known, strict=True) if good and value])
        countable = kind in ("learning rate", "size", "training") and 0 < known.sum() == len(numbers)
        if not countable or numbers.min() <= 0 or len(set(numbers)) < 2:
            continue
        logs = np.log(numbers)
        column = np.zeros(len(rows))
        column[known] = (logs - logs.mean()) / logs.std()
        if kind != "learning rate":
            found.append(_Nuisance(column))
            continue
        own = _Nuisance(column, method=gene.split(" ")[0], mean_square=float((column[known] ** 2).mean()))
        found += [own, own._replace(column=np.where(known, column**2 - own.mean_square, 0.0), square=True)]
    return found


def _best(slope: float, curvature: float, rate: _Nuisance) -> float:
    """What a method gains at its best learning rate, within those that were tried, over its average one."""
    ends = np.quantile(rate.column[rate.column != 0], [MARGIN, 1 - MARGIN])
    tried = [*ends, float(np.clip(-slope / (2 * curvature), *ends))] if curvature < 0 else list(ends)
    return max(float(slope * z + curvature * (z**2 - rate.mean_square)) for z in tried)


def _bootstrapped(model: _Model, scores: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """(1 + resamples, 2 pairs) what is read off the model: first of all trials, then of each resample."""
    scale = scores.std() or 1.0
    rng = np.random.default_rng([seed, len(scores)])
    weights = [np.ones(len(scores)), *rng.multinomial(len(scores), np.full(len(scores), 1 / len(scores)), RESAMPLES)]
    target = (scores - scores.mean()) / scale
    found = []
    for weight in weights:
        weighted = model.columns * weight[:, None]
        fitted = np.linalg.solve(model.columns.T @ weighted + np.diag(model.ridge), weighted.T @ target)
        found.append(scale * model.read(fitted))
    return np.array(found)


def _effect(estimates: NDArray[np.float64], *, wider: float) -> Effect:
    """The basic bootstrap: resamples lie around all trials' estimate as this lies around the truth, so that it is rid
    of the optimism of having taken a best learning rate. ``wider`` makes up for the terms of the model, which take some
    of the residuals' spread with them."""
    low, high = np.quantile(estimates[1:], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    middle = estimates[1:].mean()
    mean = 2 * estimates[0] - middle
    return Effect(
        mean=float(mean), low=float(mean - wider * (high - middle)), high=float(mean + wider * (middle - low))
    )
