"""Fitting: sources -> a model that knows from held-out sources how to open a search and how wide its intervals must be.

Beside the ensemble, in the same pass, judges are trained: members that each leave a fold of tasks out (a family is
never on both sides). On these tasks they show how many of the first trials a portfolio of past winners makes better
than the network, whether that is better than chance, and how far scores fall from what was expected. The judges are
then dropped."""

from collections.abc import Sequence

import numpy as np
from scipy.special import comb

from autodelta.meta.folds import folds
from autodelta.meta.inputs import Inputs
from autodelta.meta.level import Levels
from autodelta.meta.model import CHANCE, OPENINGS, Found, Model
from autodelta.meta.network import Network, picked
from autodelta.meta.plain import Plain
from autodelta.meta.portfolio import greedy
from autodelta.meta.problem import Configurations, Flags, Floats, Integers, Points, Source, Sources
from autodelta.meta.regression import levels_by_features
from autodelta.meta.repeats import noise_of_a_score
from autodelta.meta.squash import seen
from autodelta.meta.training import Settings, train

JUDGES = 4
LENGTH = 50  # of the portfolio
OPENED = 5  # trials after which openings are compared
SHOWN = (0, 1, 2, 3, 5, 10, 25)  # trials at which intervals are judged
SHARE = 0.9  # that an interval should hold
SURE = 1.645  # standard errors by which an opening must be better than chance: one side, 95 %
LEAST_JUDGED = 8  # configurations that a task must have to be a judge's case


def fit(sources: Sources, settings: Settings | None = None, *, seed: int = 0) -> Model:
    """A model of these sources.

    Raises:
        NoTransfer: too few of their tasks have something to teach.
    """
    settings = settings or Settings()
    sources = sources.usable()
    number = min(JUDGES, len({task.family for task in sources.tasks}))
    fold = folds([task.family for task in sources.tasks], number, seed=seed)
    judged = range(number) if number > 1 else range(0)
    allowed = [np.ones(len(fold), dtype=bool)] * settings.members + [fold != out for out in judged]
    inputs = Inputs.of(sources)
    by_member = [inputs.by_features_of([sources.tasks[task] for task in np.flatnonzero(flags)]) for flags in allowed]
    network = train(sources, by_member, members=allowed, settings=settings, seed=seed)
    judges = [
        _model(sources, np.flatnonzero(fold != out), settings, by_member[number], picked(network, [number]))
        for number, out in enumerate(judged, start=settings.members)
    ]
    found = _found([(judges[out], sources.tasks[task]) for task, out in enumerate(fold) if judges], sources, seed)
    whole = np.arange(len(fold))
    return _model(sources, whole, settings, inputs, picked(network, range(settings.members)), found)


def levels_of(tasks: Sequence[Source], inputs: Inputs) -> Levels:
    """How offset and scale of tasks follow their features."""
    levels = np.array([task.scaled() for task in tasks])
    levels[:, 1] = np.log(levels[:, 1])
    features = inputs.features(np.stack([task.features for task in tasks])).double().numpy()
    return levels_by_features(levels, features, [task.family for task in tasks])


def _model(
    sources: Sources,
    at: Integers,
    settings: Settings,
    inputs: Inputs,
    network: Network,
    found: Found | None = None,
) -> Model:
    """A model that has learned from some of the tasks."""
    part = Sources(sources.layout, sources.configurations, tuple(sources.tasks[task] for task in at))
    return Model(
        layout=sources.layout,
        settings=settings,
        inputs=inputs,
        network=network,
        levels=levels_of(part.tasks, inputs),
        plain=Plain.of(sources.layout, sources.configurations, noise_of_a_score(part.tasks)),
        portfolio=sources.configurations.take(greedy(part, LENGTH)),
        found=found or Found(),
        tasks=tuple(task.name for task in part.tasks),
    )


def _found(cases: list[tuple[Model, Source]], sources: Sources, seed: int) -> Found:
    """What the judges say of tasks that they have not learned from."""
    rng = np.random.default_rng(seed)
    openings: dict[int, list[Floats]] = {number: [] for number in OPENINGS}
    chance: list[Floats] = []
    missed: dict[int, list[Floats]] = {number: [] for number in SHOWN}
    for judge, task in cases:
        rows, scores = _ends(task)
        if len(rows) < LEAST_JUDGED:
            continue
        pool = sources.configurations.take(rows)
        features = task.features if np.isfinite(task.features).all() and len(task.features) else None
        chance.append(_by_chance(scores))
        for opening in OPENINGS:
            openings[opening].append(_opened(judge, features, pool, scores, opening))
        order = rng.permutation(len(rows))
        for number in SHOWN:
            if number <= len(rows) // 2:
                missed[number].append(_missed(judge, features, pool, scores, order[:number]))
    if not chance:
        return Found()
    regrets = {str(number): np.mean(found, axis=0) for number, found in openings.items()}
    regrets[CHANCE] = np.mean(chance, axis=0)
    return Found(
        opening=_best_opening(openings, chance),
        regrets={name: [round(float(value), 4) for value in found] for name, found in regrets.items()},
        widths={number: float(np.quantile(np.concatenate(found), SHARE)) for number, found in missed.items() if found},
        tasks=len(chance),
    )


def _best_opening(regrets: dict[int, list[Floats]], chance: list[Floats]) -> int | None:
    """The network, unless a portfolio opens surely better: judges are single members, and the ensemble does better than
    they. None, where even the best opening is not surely better than chance."""
    of = {number: np.mean(found, axis=1) for number, found in regrets.items()}  # (tasks,)
    able = [number for number in of if number == 0 or _surely(of[0] - of[number])]
    best = min(able, key=lambda number: float(of[number].mean()))
    return best if _surely(np.mean(chance, axis=1) - of[best]) else None


def _surely(gain: Floats) -> bool:
    """Whether the mean over tasks is above 0, by one side."""
    return bool(gain.mean() > SURE * gain.std() / np.sqrt(len(gain)))


def _ends(task: Source) -> tuple[Integers, Floats]:
    """The configurations that were tried to the end, and their mean scores over repeats."""
    ended = task.points.ended
    rows, at = np.unique(task.points.rows[ended], return_inverse=True)
    return rows, np.bincount(at, weights=task.points.scores[ended]) / np.bincount(at)


def _opened(judge: Model, features: Floats | None, pool: Configurations, scores: Floats, opening: int) -> Floats:
    """Normalised regret after 1, 2, ... trials, (OPENED,); the first ones of the portfolio, if it is in the pool."""
    on = judge.on(features)
    taken: Flags = np.zeros(len(pool), dtype=bool)
    places = {key: place for place, key in enumerate(judge.portfolio.keys)}
    fixed = np.array([-places.get(key, np.inf) for key in pool.keys], dtype=np.float64)
    best = []
    for trial in range(min(OPENED, len(pool))):
        won = trial < opening and bool(np.isfinite(fixed[~taken]).any())
        wanted = fixed if won else on.wanted(pool, "past")
        row = int(np.argmax(np.where(taken, -np.inf, wanted)))
        taken[row] = True
        on.observe(pool, Points.of_ends([row], [scores[row]]))
        best.append(scores[taken].max())
    regret = (scores.max() - np.array(best)) / max(float(np.ptp(scores)), 1e-12)
    return np.asarray(np.concatenate([regret, np.full(OPENED - len(regret), regret[-1])]))


def _by_chance(scores: Floats) -> Floats:
    """Normalised regret that is expected after 1, 2, ... trials drawn at random, (OPENED,)."""
    number, ranks = len(scores), np.arange(len(scores))
    chances = np.stack([comb(ranks, drawn) / comb(number, drawn + 1) for drawn in range(OPENED)])  # that it is the best
    best = chances @ np.sort(scores)
    return np.asarray((scores.max() - best) / max(float(np.ptp(scores)), 1e-12))


def _missed(judge: Model, features: Floats | None, pool: Configurations, scores: Floats, shown: Integers) -> Floats:
    """How far scores lie from their median, in units of the interval to that side; of those that were not shown."""
    on = judge.on(features)
    if len(shown):
        on.observe(pool, Points.of_ends(shown, scores[shown]))
    low, middle, high = on.seen_quantiles(pool, ((1 - SHARE) / 2, 0.5, (1 + SHARE) / 2))
    found = seen(scores, *on.level)
    far = np.where(found > middle, (found - middle) / (high - middle), (middle - found) / (middle - low))
    return np.asarray(np.delete(far, shown))
