"""The model on one task: what its trials have shown so far, what every arm expects, and which arm to believe.

Three arms predict: the hypernetwork, the shared prior (the same network with its task embedding off), and a plain
Gaussian process without transfer. Each is weighed by how well it foretold the scores that came (its evidence), so that
a past that misleads loses its say. A fourth chooses trials and has no part in what is foretold: the plain process with
the past as a covariate (``autodelta.meta.weighed``). ``Model.on`` makes one, and ``autodelta.meta.policies`` decides
with it."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy.special import expit

from autodelta.meta.plain import LENGTHS
from autodelta.meta.posterior import Mixture, Posterior, ScoreMixture, joined, log_sum
from autodelta.meta.priors import Priors
from autodelta.meta.problem import Configurations, Floats, Points
from autodelta.meta.squash import scale_of, seen, unseen
from autodelta.meta.standing import Arm, Pool, appended
from autodelta.meta.weighed import NOTHING, STORIES

if TYPE_CHECKING:
    from autodelta.meta.model import Model

ARMS: tuple[Arm, ...] = ("hypernetwork", "shared", "plain")
BELIEF: dict[Arm, float] = {"hypernetwork": 0.6, "shared": 0.35, "plain": 0.05}  # before any trial
FEWEST = 3  # scores from which on it is asked whether what other tasks taught is to be believed
# The log odds of that: a logistic regression on searches of a public table with sound and with wrong sources (0018).
PER_AGREEMENT = 1.1  # on the rank agreement, in standard deviations under chance
PER_EVIDENCE = 0.85  # on the log evidence over that of no transfer, over the root of the number of scores
DOUBT_BENEFIT = 0.3
LEVEL_KNOWN = 4  # configurations with a score from which on intervals take the level as told: it is narrower (0023)
FAR = 1.0  # scales below what was foretold from which on the level is inferred from the scores' own (0023)
ROUNDS = 3  # of inferring the level, then what scores look like at that level
MARGIN = 0.5  # scales by which to improve on the best, where no past says what is good (0018)
COST_SHRINKAGE = 1.0  # trials' worth of belief that a task costs what its features say


class OnTask:
    """One task. It draws nothing: the same observations in the same order give the same answers."""

    def __init__(
        self, model: "Model", features: Floats | None, arms: Sequence[Arm] | None = None, *, per_second: bool = False
    ) -> None:
        self.model = model
        self.features = features
        self.per_second = per_second
        able = ARMS if features is not None else ARMS[1:]
        self.arms: tuple[Arm, ...] = tuple(arm for arm in able if arms is None or arm in arms)
        self.keys: list[str] = []  # of the observed points
        self.rungs, self.scores = np.empty(0), np.empty(0)
        self._ids: dict[str, int] = {}
        self._observed: Pool | None = None
        self._waiting: Pool | None = None
        self._together: Pool | None = None
        self._cost_misses = np.empty((0, 2))
        self._fits: dict[Arm, list[Posterior]] | None = None
        self._prior = model.level(features)
        self._level = self._prior.expected
        self._held: tuple[Configurations, Pool] | None = None
        self._priors = Priors(model, {arm: BELIEF[arm] for arm in self._transfer})

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def tried(self) -> int:
        """Configurations with a score."""
        return len(set(self.keys))

    @property
    def begun(self) -> int:
        """Trials with a score and those that were awaited."""
        return len(self) + (len(self._waiting.ids) if self._waiting is not None else 0)

    def observe(
        self,
        configurations: Configurations,
        points: Points,
        *,
        log_seconds: Floats | None = None,
        log_bytes: Floats | None = None,
    ) -> None:
        """Adds scores of trials: of an ended one its end, of one under way its last point.

        Args:
            configurations: that the points' rows name.
            points: n of them.
            log_seconds: (n,) of whole trials, NaN where not known.
            log_bytes: (n,) the same.

        Raises:
            ValueError: a score is no finite number.
        """
        if not np.isfinite(points.scores).all():
            raise ValueError("scores must be finite numbers")
        found = self._pool(configurations.take(points.rows), points.rungs)
        self._observed = found if self._observed is None else appended(self._observed, found)
        self.keys += [configurations.keys[row] for row in points.rows]
        self.rungs = np.concatenate([self.rungs, points.rungs])
        self.scores = np.concatenate([self.scores, points.scores])
        told = [np.full(len(points), np.nan) if cost is None else cost for cost in (log_seconds, log_bytes)]
        self._cost_misses = np.concatenate([self._cost_misses, np.stack(told, axis=1) - found.costs])
        self._fits = self._together = None

    def expect(self, configurations: Configurations) -> None:
        """Adds trials under way that have shown nothing yet. What is wanted next keeps away from them, as they will
        tell what it would; what scores are expected, and how far each arm is believed, goes by scores alone."""
        found = self._pool(configurations, np.ones(len(configurations)))
        self._waiting = found if self._waiting is None else appended(self._waiting, found)
        self._fits = self._together = None

    @property
    def level(self) -> tuple[float, float]:
        """The offset and the scale of the task's scores, as now expected."""
        self._fitted()
        return self._level

    def trust(self) -> dict[Arm, float]:
        """How far each arm is believed; sums to 1."""
        transfer = self._transfer
        if not transfer:
            return dict.fromkeys(self.arms, 1.0)
        logs = self._believed(transfer)
        shares = np.exp(logs - log_sum(logs))
        kept = self._transfer_is_believed(transfer, shares) if "plain" in self.arms else 1.0
        found: dict[Arm, float] = {arm: float(kept * share) for arm, share in zip(transfer, shares, strict=True)}
        return found if "plain" not in self.arms else found | {"plain": 1.0 - kept}

    @property
    def _transfer(self) -> list[Arm]:
        """The arms that other tasks have taught."""
        return [arm for arm in self.arms if arm != "plain"]

    def _believed(self, arms: Sequence[Arm]) -> Floats:
        """Logs of how far arms are believed beside each other, by their evidence."""
        return np.array([np.log(BELIEF[arm]) + self._evidence(arm) for arm in arms])

    def _transfer_is_believed(self, transfer: Sequence[Arm], shares: Floats) -> float:
        """From 0 to 1: by how the past ranks what was tried, and how much better than without it scores are foretold.

        The evidence alone says too little: what the past recommends has scores that lie close together, which any
        smooth process explains.
        """
        count = len(self.scores)
        if self._observed is None or count < FEWEST:
            return 1.0 - BELIEF["plain"]
        standings = self._observed.standings
        means = [np.mean([one.mean for one in standings[arm]], axis=0) for arm in transfer]
        told = (self.scores, self.rungs)
        ranked = sum(share * _agreement(mean, *told) for share, mean in zip(shares, means, strict=True))
        foretold = sum(share * self._evidence(arm) for share, arm in zip(shares, transfer, strict=True))
        gain = (foretold - self._evidence("plain")) / np.sqrt(count)
        return float(expit(PER_AGREEMENT * ranked + PER_EVIDENCE * gain + DOUBT_BENEFIT))

    def stories(self) -> list[float]:
        """How far each of ``STORIES`` is believed; sums to 1."""
        logs = self._evidences("weighed").reshape(len(STORIES), len(LENGTHS))
        by_story = np.array([log_sum(one) for one in logs])
        return [float(share) for share in np.exp(by_story - log_sum(by_story))]

    def beliefs(
        self, pool: Configurations, arm: Arm | Literal["past"] | None = None, *, noisy: bool = False
    ) -> Mixture:
        """What is expected of N configurations at the end of their trials, on the scale of ``squash.seen``.

        Args:
            pool: the configurations.
            arm: one of ``arms``, or ``weighed``; ``past``: those that other tasks have taught, by their evidence;
                None: all of ``arms``, by their trust.
            noisy: of a score as one seed gives it, not of the mean over seeds.
        """
        return self._beliefs(self._ends(pool), arm, noisy=noisy)

    def _beliefs(self, points: Pool, arm: Arm | Literal["past"] | None, *, noisy: bool = False) -> Mixture:
        if arm == "past":
            told = [self._of_arm(name, points, noisy=noisy) for name in self._transfer]
            return joined(told, self._believed(self._transfer))
        if arm is not None:
            return self._of_arm(arm, points, noisy=noisy)
        trust = self.trust()
        parts = [self._of_arm(name, points, noisy=noisy) for name in self.arms]
        return joined(parts, np.log(np.maximum(list(trust.values()), 1e-300)))

    def predict(self, pool: Configurations) -> tuple[Floats, Floats]:
        """Expected scores of N configurations, and their standard deviation, (N,) each."""
        found = self.beliefs(pool)
        middle = unseen(found.mean, *self._level)
        return middle, np.asarray(
            (unseen(found.mean + found.sd, *self._level) - unseen(found.mean - found.sd, *self._level)) / 2
        )

    def interval(self, pool: Configurations, *, share: float = 0.9) -> tuple[Floats, Floats]:
        """Where a score will lie with this probability, (N,) each; as wide as held-out tasks need it."""
        low, middle, high = self.seen_quantiles(pool, ((1 - share) / 2, 0.5, (1 + share) / 2))
        width = self.model.width(self.tried)
        ends = (middle - width * (middle - low), middle + width * (high - middle))
        return unseen(ends[0], *self.level), unseen(ends[1], *self.level)

    def chance_above(self, pool: Configurations, bar: float) -> Floats:
        """How likely each score is to lie above a bar, (N,); as sure of it as held-out tasks allow."""
        found = self._of_scores(pool)
        middle = seen(found.quantile(0.5), *self.level)
        ahead = (seen(np.array(bar), *self.level) - middle) / self.model.width(self.tried)
        return np.asarray(1.0 - found.below(unseen(middle + ahead, *self.level)))

    def seen_quantiles(self, pool: Configurations, levels: Sequence[float]) -> list[Floats]:
        """Quantiles of the scores that one seed would give, (N,) each, as the model itself believes, on the scale of
        ``squash.seen``: there, and not in the long tail, it is that intervals are widened."""
        found = self._of_scores(pool)
        return [seen(found.quantile(level), *self.level) for level in levels]

    def costs(self, pool: Configurations) -> Floats:
        """Log device-seconds and log bytes of whole trials, (N, 2); NaN where the sources know none."""
        known = np.isfinite(self._cost_misses)
        sums = np.where(known, self._cost_misses, 0.0).sum(axis=0)
        return np.asarray(self._ends(pool).costs + sums / (known.sum(axis=0) + COST_SHRINKAGE))

    def wanted(self, pool: Configurations, arm: Arm | Literal["past"] | None = None) -> Floats:
        """How much each of N configurations is wanted as the next trial, (N,): log expected improvement, without
        transfer by a margin (the xi of Brochu et al. 2010, arXiv 1012.2599, section 2.3), of a model ``per_second`` for
        each device-second that it would take (Snoek et al. 2012, arXiv 1206.2944, section 3.2).

        Args:
            pool: the configurations.
            arm: as ``beliefs``.
        """
        return self._gain(pool, lambda points: self._beliefs(points, arm), MARGIN if arm == "plain" else 0.0)

    def _best(self) -> float:
        """The best score of an ended trial, as it is seen; of all points where none has ended."""
        scores = seen(self.scores, *self._level)
        ended = self.rungs >= 1.0
        return float(scores[ended].max() if ended.any() else scores.max())

    def wanted_if(self, story: int, pool: Configurations) -> Floats:
        """As ``wanted`` by the weighed arm, were one of ``STORIES``, by its number, the truth."""
        if STORIES[story] == NOTHING:
            return self.wanted(pool, "plain")
        fits = self._fits_of("weighed")
        members = range(story * len(LENGTHS), (story + 1) * len(LENGTHS))
        logs = self._evidences("weighed")[members]

        def beliefs(points: Pool) -> Mixture:
            return joined([self._predicted("weighed", n, fits[n], points, noisy=False) for n in members], logs)

        return self._gain(pool, beliefs, 0.0)

    def _gain(self, pool: Configurations, beliefs: Callable[[Pool], Mixture], margin: float) -> Floats:
        """Log expected improvement, (N,), by a margin over the best score and over what is expected of trials that are
        awaited; what is expected to be best where there is no score yet."""
        found = beliefs(self._ends(pool))
        if not len(self.scores):
            return np.asarray(found.mean / max(self._level[1], 1e-12))
        best = self._best()
        if self._waiting is not None:
            best = max(best, float(beliefs(self._waiting).mean.max()))
        gain = np.log(np.maximum(found.improvement(best + margin * self._level[1]), 1e-300))
        log_seconds = self.costs(pool)[:, 0]
        return np.asarray(gain - log_seconds if self.per_second and np.isfinite(log_seconds).all() else gain)

    def _evidence(self, arm: Arm) -> float:
        logs = self._evidences(arm)
        return log_sum(logs) - float(np.log(len(logs)))

    def _evidences(self, arm: Arm) -> Floats:
        return np.array([fit.log_evidence for fit in self._fits_of(arm)])

    def _of_scores(self, pool: Configurations) -> ScoreMixture:
        """What is believed of scores themselves, as one seed gives them, by all arms."""
        if self.tried >= LEVEL_KNOWN:
            return self.beliefs(pool, noisy=True).at(*self.level)
        points = self._ends(pool)
        parts, logs = [], []
        for arm, trust in self.trust().items():
            fits = self._fits_of(arm)
            asked = [self._asked(arm, member, points, noisy=True) for member in range(len(fits))]
            parts.append(joined([fit.of_scores(*one) for fit, one in zip(fits, asked, strict=True)], self._shares(arm)))
            logs.append(np.log(max(trust, 1e-300)))
        return joined(parts, np.array(logs)).without_light_parts()

    def _of_arm(self, arm: Arm, points: Pool, *, noisy: bool) -> Mixture:
        fits = self._fits_of(arm)
        parts = [self._predicted(arm, number, fit, points, noisy=noisy) for number, fit in enumerate(fits)]
        return joined(parts, self._shares(arm))

    def _shares(self, arm: Arm) -> Floats:
        """Logs of how far each member of an arm is believed: by its evidence, where members differ in kind."""
        return self._evidences(arm) if arm in ("plain", "weighed") else np.zeros(self._priors.members(arm))

    def _predicted(self, arm: Arm, member: int, fit: Posterior, points: Pool, *, noisy: bool) -> Mixture:
        return fit.predict(*self._asked(arm, member, points, noisy=noisy))

    def _asked(self, arm: Arm, member: int, points: Pool, *, noisy: bool) -> tuple[Floats, Floats, Floats]:
        """What a posterior needs to know of N points: mean (N,), covariance with the observed (N, n), variance (N,)."""
        observed = self._met() or appended(points, points, none=True)
        cross = self._priors.kernel(arm, member, points, observed)
        variance = self._priors.variance(arm, member, points) + noisy * self._priors.noise(arm, member) ** 2
        return self._priors.mean(arm, member, points), cross, np.asarray(variance)

    def _fitted(self) -> dict[Arm, list[Posterior]]:
        """The posterior of every member of every arm."""
        if self._fits is None:
            self._fits = {
                arm: [self._factored(arm, member) for member in range(self._priors.members(arm))] for arm in self.arms
            }
            level = self._supposed()
            for _ in range(ROUNDS if len(self.scores) else 0):
                scores = seen(self.scores, *level)
                for fits in self._fits.values():
                    for fit in fits:
                        fit.tell(scores)
                self._level = level
                level = self._agreed(self._fits)
        return self._fits

    def _supposed(self) -> tuple[float, float]:
        """Offset and scale from which they are inferred: what was foretold, or the scores' own where these are more
        than a few and lie far below it. From there three rounds would lead nowhere: the squash makes of a long way a
        short one.
        """
        foretold = self._prior.expected
        if len(self.scores) < LEVEL_KNOWN:
            return foretold
        offset, scale = scale_of(self.scores)
        if offset > foretold[0] - FAR * foretold[1]:
            return foretold
        scales = self._prior.scales()[0]
        return offset, float(np.clip(scale, scales[0], scales[-1]))

    def _fits_of(self, arm: Arm) -> list[Posterior]:
        """The posterior of every member of an arm; the one that only chooses is made when it is asked for."""
        fits = self._fitted()
        if arm not in fits:
            known = fits.get("plain", []) if arm == "weighed" else []  # the first story is that arm's
            made = [self._factored(arm, member) for member in range(len(known), self._priors.members(arm))]
            for fit in made if len(self.scores) else ():
                fit.tell(seen(self.scores, *self._level))
            fits[arm] = [*known, *made]
        return fits[arm]

    def _agreed(self, fits: dict[Arm, list[Posterior]]) -> tuple[float, float]:
        """The level that the arms expect, by their trust."""
        every = [
            (np.log(BELIEF[arm] / len(found)) + fit.log_evidence, *fit.level())
            for arm, found in fits.items()
            for fit in found
        ]
        logs, offsets, scales = np.array(every).T
        weights = np.exp(logs - log_sum(logs))
        return float(weights @ offsets), float(np.exp(weights @ np.log(scales)))

    def _factored(self, arm: Arm, member: int) -> Posterior:
        observed = self._met()
        if observed is None:
            return Posterior(np.empty(0), np.empty((0, 0)), self._prior)
        kernel = self._priors.kernel(arm, member, observed, observed).copy()  # which others may share
        np.fill_diagonal(kernel, kernel.diagonal() + self._priors.noise(arm, member) ** 2)
        mean = self._priors.mean(arm, member, observed)
        return Posterior(mean, kernel, self._prior, waiting=self.begun - len(self))

    def _met(self) -> Pool | None:
        """The observed points, then those that are awaited."""
        if self._observed is None or self._waiting is None:
            return self._observed or self._waiting
        if self._together is None:
            self._together = appended(self._observed, self._waiting)
        return self._together

    def _ends(self, pool: Configurations) -> Pool:
        """The ends of trials; the same pool is asked about again and again: the last one is kept."""
        if self._held is None or self._held[0] is not pool:
            self._held = (pool, self._pool(pool, np.ones(len(pool))))
        return self._held[1]

    def _pool(self, configurations: Configurations, rungs: Floats) -> Pool:
        ids = np.array([self._ids.setdefault(key, len(self._ids)) for key in configurations.keys], dtype=np.int64)
        standings, costs = self.model.standings(configurations, rungs, self.features)
        return Pool(ids, np.log(rungs), standings, self.model.plain.vectors(configurations), costs)


def _agreement(expected: Floats, scores: Floats, rungs: Floats) -> float:
    """Kendall's rank correlation over its standard deviation under chance, of points at one rung: that scores rise
    while a trial goes on says nothing of candidates. 0, where no two points are at the same rung."""
    signs = np.sign(expected[:, None] - expected[None]) * np.sign(scores[:, None] - scores[None])
    same = rungs[:, None] == rungs[None]
    counts = np.unique(rungs, return_counts=True)[1]
    spread = np.sqrt((counts * (counts - 1) * (2 * counts + 5) / 18).sum())
    return float(np.triu(signs * same, 1).sum() / spread) if spread else 0.0
